"""Which axis of a feature array is time and which holds the channels: decided from evidence, or refused.

A layout names each axis by a letter, in the order of the array's shape:
    t    rows (time)
    c    channels
    h w  positions in the frame: averaged
    n    crops of the frame: averaged
    1    an axis of size 1: removed

Time and channels are never averaged. Evidence, for all arrays of one kind together:
    lengths    arrays of different videos differ along t only
    sizes      c is a size that published backbones have (`WIDTHS`)
    durations  t fits the video's duration and the seconds between rows; without the latter, one row per second
Two axes without any evidence are "tc", as in all projects that this package reads; evidence for "ct" must be strong.
More axes than two need evidence, unless only one reading is possible.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

import numpy as np
from jaxtyping import Float, Num

from avloc.errors import ConfigError, FormatError

Shape = tuple[int, ...]

WIDTHS = {
    **dict.fromkeys(("rgb", "flow", "i3d", "i3d rgb+flow", "s3d"), (1024, 2048)),
    **dict.fromkeys(("resnet", "res152"), (512, 2048)),
    **dict.fromkeys(("r21d", "r2plus1d_18", "tsp", "wav2clip"), (512,)),
    **dict.fromkeys(("vggish", "vggish-pca"), (128,)),
    **dict.fromkeys(("clip", "siglip", "siglip2", "dinov2", "dinov3"), (512, 768, 1024)),
    "slowfast": (2304,),
    "openl3": (512, 6144),
    "panns": (512, 2048),
    "logmel": (64, 128, 256),
    "appearance": (584,),
    "efficientnet-lite0": (1280,),
    "efficientat-mn04": (384,),
    "efficientat-mn10": (960,),
}
"""Published sizes of the features with a name of their own."""

COMMON_WIDTHS = (128, 400, 500, 512, 768, 1024, 1280, 1408, 1536, 2048, 2304, 3072, 4096)
"""Published sizes of features without such a name."""

USUAL = "the usual order, which nothing confirms"

MOST_CROPS = 10
MOST_POSITIONS = 64
"""Per side of the frame."""


@dataclass(frozen=True)
class Rows:
    """The numbers of rows that fit a video, `fewest` to `most`.

    Args:
        sure: known from the seconds between rows, not supposed.
    """

    fewest: float
    most: float
    sure: bool


@dataclass(frozen=True)
class Layout:
    """A layout and why it was taken.

    Args:
        axes: a letter per axis, such as "tchw".
        because: the evidence, for people.
        sizes: of all axes except t, as in the arrays that it was decided for; empty if any will do.
    """

    axes: str
    because: str
    sizes: Shape = ()

    def suits(self, shape: Shape) -> bool:
        """Whether an array of this shape agrees with the arrays that it was decided for."""
        fits = len(shape) == len(self.axes) and all(s == 1 for s, a in zip(shape, self.axes, strict=True) if a == "1")
        return fits and (not self.sizes or _without(shape, self.axes.index("t")) == self.sizes)

    def apply(self, values: Num[np.ndarray, " ..."], positions: bool = False) -> Float[np.ndarray, "t c"]:
        """Rows first, averaged over crops and positions.

        Args:
            positions: keep the positions in the frame; a row is the frame flattened row by row, c channels each.

        Raises:
            FormatError: an array of another shape.
        """
        if not self.suits(values.shape):
            raise FormatError(f"shape {values.shape}; expected the axes {self.axes}")
        order = "thwc" if positions else "tc"
        rest = tuple(k for k, axis in enumerate(self.axes) if axis not in order)
        pooled = values.mean(axis=rest, dtype=np.result_type(values.dtype, np.float32)) if rest else values
        kept = [axis for axis in self.axes if axis in order]
        ordered = pooled.transpose([kept.index(axis) for axis in order if axis in kept])
        return ordered.reshape(len(ordered), -1)

    def text(self) -> str:
        """For people: `"tchw, averaged over h and w (1024 is a known size)"`."""
        averaged = " and ".join(letter for letter in "nhw" if letter in self.axes)
        return f"{self.axes}{f', averaged over {averaged}' if averaged else ''} ({self.because})"


def parse_axes(text: str) -> dict[str, str]:
    """ "tchw", or "tchw,ct", or "rgb=tchw,vggish=ct", as {"3" or "rgb": letters}: by number of axes, or by track.

    Raises:
        ConfigError: not a layout, or two for the same arrays.
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, letters = part.rpartition("=")
        axes = letters.strip().lower()
        wrong = re.search("[^tchwn1]", axes) or any(axes.count(a) > 1 for a in "tchwn")
        if wrong or "t" not in axes or "c" not in axes:
            raise ConfigError(
                "--axes takes one letter per axis: t rows, c channels, h w positions, n crops, 1 an axis of size 1; "
                f"each once, with t and c, such as tchw or rgb=tchw,vggish=ct; got {part!r}"
            )
        key = name.strip() or str(len(axes))
        if key in found:
            raise ConfigError(f"--axes names two layouts for {name.strip() or f'arrays of {len(axes)} axes'}: {text!r}")
        found[key] = axes
    return found


def choose_axes(shapes: Sequence[Shape], rows: Sequence[Rows | None], name: str = "") -> Layout | str:
    """The layout of arrays with the same number of axes, or the reason why it cannot be told.

    Args:
        shapes: of arrays of one kind, one per video.
        rows: numbers of rows that fit each video; None if unknown.
        name: of the features, such as "rgb"; their sizes are in `WIDTHS`.
    """
    options = list(_readings(shapes))
    if not options:
        return "no layout fits this shape"
    evidence = [part for part in _evidence(options, shapes, rows, name) if 0 < len(part.options) < len(options)]
    kept = _common(options, evidence)
    if not kept and any(part.supposed for part in evidence):
        evidence = [part for part in evidence if not part.supposed]
        kept = _common(options, evidence)
    if not kept:
        return "the evidence is contradictory: " + " and ".join(part.text() for part in evidence)
    letters = " or ".join(dict.fromkeys(option.letters for option in kept))
    usual = next((option for option in kept if len(shapes[0]) == 2 and option.t < option.c), None)
    if usual is None and len({option.result for option in kept}) > 1:
        return f"it could be {letters}; nothing in the data tells which"
    chosen = usual or kept[0]
    why = " and ".join(part.reason for part in evidence)
    if chosen.c < chosen.t and not (len(evidence) > 1 or any(part.strong for part in evidence)):
        return f"it could be {chosen.letters}{f' ({why})' if why else ''}, which is not certain"
    return Layout(chosen.letters, why or (USUAL if usual else "the only reading"), chosen.others)


@dataclass(frozen=True)
class _Option:
    """A reading of the arrays: rows along axis t, channels along axis c.

    Args:
        others: sizes of all axes except t, in most arrays.
        support: share of the arrays with these sizes.
        settled: the arrays differ along t only, and enough to exclude damaged files.
        result: equal for options with the same outcome.
    """

    t: int
    c: int
    letters: str
    others: Shape
    support: float
    settled: bool
    result: tuple[int, int]

    @property
    def size(self) -> int:
        """Number of channels."""
        return self.others[self.c - (self.c > self.t)]


@dataclass(frozen=True)
class _Evidence:
    """Options that agree with a fact.

    Args:
        strong: may overrule the usual order alone.
        supposed: gives way to other evidence.
    """

    options: Sequence[_Option]
    reason: str
    strong: bool
    supposed: bool = False

    def text(self) -> str:
        return f"{' or '.join(dict.fromkeys(option.letters for option in self.options))} by {self.reason}"


def _common(options: Sequence[_Option], evidence: Sequence[_Evidence]) -> list[_Option]:
    return [option for option in options if all(option in part.options for part in evidence)]


def _evidence(
    options: Sequence[_Option], shapes: Sequence[Shape], rows: Sequence[Rows | None], name: str
) -> Iterator[_Evidence]:
    best = max(option.support for option in options)
    if best > 0.5:
        alike = [option for option in options if option.support == best]
        yield _Evidence(alike, "the videos differ along t only", all(option.settled for option in alike))
    widths = WIDTHS.get(name.lower())
    known = [option for option in options if option.size in (widths or COMMON_WIDTHS)]
    yield _Evidence(known, "c has a published size", widths is not None)
    wanted = [(shape, fit) for shape, fit in zip(shapes, rows, strict=True) if fit is not None]
    sure = bool(wanted) and all(fit.sure for _, fit in wanted)
    fitting = [
        option
        for option in options
        if sum(fit.fewest <= shape[option.t] <= fit.most for shape, fit in wanted) > len(wanted) / 2
    ]
    words = "t fits the durations" if sure else "t fits one row per second"
    yield _Evidence(fitting, words, sure, supposed=not sure)


def _readings(shapes: Sequence[Shape]) -> Iterator[_Option]:
    """Options whose axes besides t and c are positions in the frame, crops, or of size 1."""
    for t, c in permutations(range(len(shapes[0])), 2):
        lengths = Counter(shape[t] for shape in shapes)
        others, count = Counter(_without(shape, t) for shape in shapes).most_common(1)[0]
        letters = _letters((*others[:t], max(lengths), *others[t:]), t, c)
        if letters is None:
            continue
        prevailing = lengths.most_common(1)[0][1] / len(shapes)
        settled = count == len(shapes) and len(lengths) > 1 and (t < c or prevailing <= 0.5)
        result = (c, t if max(lengths) > 1 else -1)
        yield _Option(t, c, letters, others, count / len(shapes), settled, result)


def _letters(shape: Shape, t: int, c: int) -> str | None:
    """The letters of a shape with rows along t and channels along c; None if another axis cannot be explained."""
    letters = ["1"] * len(shape)
    letters[t], letters[c] = "t", "c"
    rest = [k for k, size in enumerate(shape) if k not in (t, c) and size > 1]
    for j, k in pairwise(rest):
        if k == j + 1 and shape[j] == shape[k] <= MOST_POSITIONS and "h" not in letters:
            letters[j], letters[k] = "h", "w"
    crops = [k for k in rest if letters[k] == "1"]
    if len(crops) > 1 or any(shape[k] > MOST_CROPS for k in crops):
        return None
    for k in crops:
        letters[k] = "n"
    text = "".join(letters)
    return None if shape[c] == 1 and text != "tc" else text


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]
