"""Errors that are not bugs of avloc.

Every message states what was expected, what was found and what to do, and names the file or the video. The command
line prints it on one line and exits with 2 (bad input); for one item of many it records the error and continues.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

_SPACES = re.compile(r"\s+")
_BREAKS = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)  # control and direction characters
_LONGEST = 2000
_MOST_LINES = 20
_LONGEST_NAME = 200
"""Of the names that are compared: the time of a comparison is quadratic in the length."""


class AvlocError(Exception):
    """Base class: errors that a user can fix without reading the source. The text is one line."""

    def __str__(self) -> str:
        return _shortened(one_line(super().__str__().strip()))


class InputError(AvlocError):
    """An invalid path, argument or combination of inputs."""


class ConfigError(AvlocError):
    """An unknown key, a value out of range, or contradictory settings."""


class FormatError(AvlocError):
    """A file that does not follow its format."""


class UnreadableError(FormatError, OSError):
    """A file that cannot be opened or read, though it was found: gone meanwhile, no permission, a broken disk."""


class MediaError(AvlocError):
    """Video or audio that cannot be opened or decoded."""


class StorageError(AvlocError):
    """A disk that is full, read-only or gone, which affects every item of a job."""


class TrainingError(AvlocError):
    """Training that cannot continue: NaN or infinity."""


@contextmanager
def reading(path: object) -> Iterator[None]:
    """Errors of the operating system while a file is read become an UnreadableError that names it."""
    try:
        yield
    except UnreadableError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadableError(
            f"{path}: cannot be read ({reason}); check that it is still there, and readable"
        ) from error


def one_line(text: str) -> str:
    """Text for a terminal: line breaks become spaces, control characters are escaped."""
    joined = _SPACES.sub(lambda found: " " if _BREAKS.search(found[0]) else found[0], text)
    return _UNSEEN.sub(lambda found: repr(found[0])[1:-1], joined)


def first_few(names: Sequence[object], most: int) -> str:
    """`"a, b, ..."`: the first `most` names, and dots if there are more."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")


def few_lines(lines: Iterable[str], rest: str = "") -> list[str]:
    """The first 20 lines, long ones shortened, and `"... and 3 more<rest>"` if there are more."""
    texts = list(lines)
    more = [f"... and {len(texts) - _MOST_LINES} more{rest}"] if len(texts) > _MOST_LINES else []
    return [*map(_shortened, texts[:_MOST_LINES]), *more]


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


def with_neighbours(names: Sequence[str], known: Iterable[str], most: int = 5) -> str:
    """`"a (did you mean 'b'?), c, ..."`: the first few unknown names, each with a similar known one."""
    choices = list(known)

    def shown(name: str) -> str:
        near = _nearest(name, choices, 1, 0.8)
        return f"{_distinct(name, near[0])} (did you mean {near[0]!r}?)" if near else name

    return first_few([*map(shown, names[:most]), *names[most:]], most)


def _nearest(word: str, known: Iterable[str], most: int, cutoff: float) -> list[str]:
    if len(word) > _LONGEST_NAME:
        return []
    return difflib.get_close_matches(word, [name for name in known if len(name) <= _LONGEST_NAME], most, cutoff)


def _distinct(name: str, other: str) -> str:
    """The name, with escapes if it looks the same as another."""
    return ascii(name)[1:-1] if _seen(name) == _seen(other) else name


def _seen(name: str) -> str:
    shown = unicodedata.normalize("NFKC", name)
    return "".join(c for c in shown if not c.isspace() and unicodedata.category(c) != "Cf")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" Did you mean 'x' or 'y'?"` for the most similar known words; `" Known: a, b, c."` if none is similar."""
    choices = sorted(known)
    near = _nearest(word, choices, 3, 0.6)
    if near:
        return " Did you mean " + " or ".join(repr(n) for n in near) + "?"
    return f" Known: {', '.join(choices)}." if choices else ""
