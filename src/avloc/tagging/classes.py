"""The class lists of the taggers: AudioSet's 527 for audio, ImageNet's 1,000 for frames.

AudioSet ontology: Google, CC BY 4.0. ImageNet's list: ILSVRC 2012, names from WordNet 3.0 (Princeton University). The
lists are data/audioset.txt and data/imagenet.txt, in the order of the classifiers' outputs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Literal

Sense = Literal["audio", "visual"]
SENSES: tuple[Sense, Sense] = ("audio", "visual")
SHOWN: Mapping[str, str] = {"audio": "audio", "visual": "frames"}
"""How the senses are called in messages and tables."""

_FILES: Mapping[Sense, str] = {"audio": "audioset.txt", "visual": "imagenet.txt"}
_PARTS = re.compile(r",\s*(?![^(]*\))")  # not the comma in "Roaring cats (lions, tigers)"
RANGE = ".."


@dataclass(frozen=True)
class ClassList:
    """The classes of a tagger.

    Args:
        names: one line per class, of one or several names: "tench, Tinca tinca".
    """

    sense: Sense
    title: str
    names: tuple[str, ...]

    @cached_property
    def by_name(self) -> Mapping[str, tuple[int, ...]]:
        """{folded name: classes}, by the whole line and by each name in it; several classes may share a name."""
        found: dict[str, list[int]] = {}
        for index, line in enumerate(self.names):
            for name in dict.fromkeys(map(folded, (line, *_PARTS.split(line)))):
                found.setdefault(name, []).append(index)
        whole = {folded(line): (index,) for index, line in enumerate(self.names) if self.names.count(line) == 1}
        return {name: tuple(classes) for name, classes in found.items()} | whole

    def short(self, index: int) -> str:
        """The first name of a class."""
        return _PARTS.split(self.names[index])[0]

    def select(self, text: str) -> tuple[int, ...]:
        """Classes of one entry of a vocabulary: a name, or `first..last` in the list's order.

        Raises:
            KeyError: the unknown name. ValueError: the range runs backwards.
        """
        first, dots, last = text.partition(RANGE)
        if not dots:
            return self._named(text)
        start, stop = min(self._named(first)), max(self._named(last))
        if stop < start:
            raise ValueError(f"{first.strip()!r} comes after {last.strip()!r} in {self.title}'s list")
        return tuple(range(start, stop + 1))

    def _named(self, name: str) -> tuple[int, ...]:
        found = self.by_name.get(folded(name))
        if found is None:
            raise KeyError(name.strip())
        return found


@lru_cache(maxsize=2)
def class_list(sense: Sense) -> ClassList:
    """The classes of the audio or the visual tagger."""
    return ClassList(sense, {"audio": "AudioSet", "visual": "ImageNet"}[sense], tuple(data_lines(_FILES[sense])))


def data_lines(name: str) -> list[str]:
    """Lines of a file in data/, without comments."""
    text = (files("avloc.tagging") / "data" / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def folded(name: str) -> str:
    """A name as it is compared: NFKC, no case, hyphens and underscores as spaces."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(re.sub(r"[\s_\-]+", " ", text).split())
