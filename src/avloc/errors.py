"""Errors that are not bugs of avloc.

Every message states what was expected, what was found and what to do, and names the file or the video. The command
line prints it on one line and exits with 2 (bad input); for one item of many it records the error and continues.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

_BREAKS = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)  # control and direction characters
_LONGEST = 2000


class AvlocError(Exception):
    """Base class: errors that a user can fix without reading the source. The text is one line."""

    def __str__(self) -> str:
        text = one_line(super().__str__().strip())
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


class InputError(AvlocError):
    """An invalid path, argument or combination of inputs."""


class ConfigError(AvlocError):
    """An unknown key, a value out of range, or contradictory settings."""


class FormatError(AvlocError):
    """A file that does not follow its format."""


class MediaError(AvlocError):
    """Video or audio that cannot be opened or decoded."""


class StorageError(AvlocError):
    """A disk that is full, read-only or gone, which affects every item of a job."""


class TrainingError(AvlocError):
    """Training that cannot continue: NaN or infinity."""


def one_line(text: str) -> str:
    """Text for a terminal: line breaks become spaces, control characters are escaped."""
    return _UNSEEN.sub(lambda found: repr(found[0])[1:-1], _BREAKS.sub(" ", text))


def first_few(names: Sequence[object], most: int) -> str:
    """`"a, b, ..."`: the first `most` names, and dots if there are more."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")


def with_neighbours(names: Sequence[str], known: Iterable[str], most: int = 5) -> str:
    """`"a (did you mean 'b'?), c, ..."`: the first few unknown names, each with a similar known one."""
    choices = list(known)

    def shown(name: str) -> str:
        near = difflib.get_close_matches(name, choices, n=1, cutoff=0.8)
        return f"{_distinct(name, near[0])} (did you mean {near[0]!r}?)" if near else name

    return first_few([*map(shown, names[:most]), *names[most:]], most)


def _distinct(name: str, other: str) -> str:
    """The name, with escapes if it looks the same as another."""
    return ascii(name)[1:-1] if _seen(name) == _seen(other) else name


def _seen(name: str) -> str:
    shown = unicodedata.normalize("NFKC", name)
    return "".join(c for c in shown if not c.isspace() and unicodedata.category(c) != "Cf")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" Did you mean 'x' or 'y'?"` for the most similar known words; `" Known: a, b, c."` if none is similar."""
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=3, cutoff=0.6)
    if near:
        return " Did you mean " + " or ".join(repr(n) for n in near) + "?"
    return f" Known: {', '.join(choices)}." if choices else ""
