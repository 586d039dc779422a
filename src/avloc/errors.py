"""What can go wrong that is not our bug.

Every message says what was expected, what came, and what to do, and names the file or the video. The command
line prints it as one line and exits 2 (bad input) or, for one item among many, records it and goes on.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

__all__ = [
    "AvlocError",
    "ConfigError",
    "FormatError",
    "InputError",
    "MediaError",
    "StorageError",
    "TrainingError",
    "did_you_mean",
    "first_few",
    "one_line",
    "with_neighbours",
]


_BREAKS = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)  # a terminal would obey
_LONGEST = 2000


class AvlocError(Exception):
    """Root of the tree: anything a person can mend without reading our code. Its text is one line."""

    def __str__(self) -> str:
        text = one_line(super().__str__().strip())
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


class InputError(AvlocError):
    """A path, an argument or a combination of inputs that cannot work."""


class ConfigError(AvlocError):
    """An unknown key, a value out of range, or settings that contradict each other."""


class FormatError(AvlocError):
    """A file that is there but does not say what its format promises."""


class MediaError(AvlocError):
    """A video or a sound that cannot be opened or decoded."""


class StorageError(AvlocError):
    """A disk that is full, read-only or gone: no other item of the same job could be written either."""


class TrainingError(AvlocError):
    """Training that cannot go on: its numbers are no longer numbers."""


def one_line(text: str) -> str:
    """Text for a terminal: line ends become spaces, and what a terminal would obey is spelt out."""
    return _UNSEEN.sub(lambda found: repr(found[0])[1:-1], _BREAKS.sub(" ", text))


def first_few(names: Sequence[object], most: int) -> str:
    """`"a, b, ..."`: so many of them, and whether there are more."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")


def with_neighbours(names: Sequence[str], known: Iterable[str], most: int = 5) -> str:
    """`"a (did you mean 'b'?), c, ..."`: names that are not known, the first few, each with the nearest that is."""
    choices = list(known)

    def shown(name: str) -> str:
        near = difflib.get_close_matches(name, choices, n=1, cutoff=0.8)
        return f"{name} (did you mean {near[0]!r}?)" if near else name

    return first_few([*map(shown, names[:most]), *names[most:]], most)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" Did you mean 'x' or 'y'?"` for the nearest known words; if none is near, `" Known: a, b, c."`."""
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=3, cutoff=0.6)
    if near:
        return " Did you mean " + " or ".join(repr(n) for n in near) + "?"
    return f" Known: {', '.join(choices)}." if choices else ""
