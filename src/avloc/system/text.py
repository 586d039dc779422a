"""Names and labels from outside, where they could do harm: as the name of a file, in a table, as text of a file.

file_stem("dog")     'dog'                  ordinary names stay as they are
file_stem("a/b")     'a_b~c14cddc033f6'     one that had to be changed says so, and is nobody else's
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = [
    "STEM_BYTES",
    "csv_text",
    "file_stem",
    "file_stems",
    "fingerprint",
    "pluralize",
    "printable",
    "readable",
    "safe_name",
]

STEM_BYTES = 200
"""Of a file's name without its suffix: with a suffix of ours it is below the 255 that file systems take."""

_REFUSED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')
"""What systems refuse, what breaks lines, what turns the direction of writing, halves of characters."""

_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{p}{n}" for p in ("COM", "LPT") for n in "0123456789¹²³"
}
"""Of Windows, whatever their extension."""

_DIGEST = 12
_MARKED = re.compile(rf"~[0-9a-f]{{{_DIGEST}}}\Z", re.IGNORECASE)
_JOINED = {"\u200d", "\ufe0e", "\ufe0f"}


def fingerprint(facts: Any) -> str:
    """A short name for plain data: the same on any machine."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def safe_name(text: str, most_bytes: int = STEM_BYTES) -> str:
    """A name that every system takes for a file, as near to the text as can be; others may become the same."""
    name = _cut(_REFUSED.sub("_", text).strip(". "), most_bytes).rstrip(". ")
    if name.partition(".")[0].rstrip(" ").upper() in _DEVICES:
        name = _cut("_" + name, most_bytes)
    return name or "_"


def file_stem(name: str) -> str:
    """A video's name as that of a file, without suffix: as it is where that can be, else with a digest of it.

    Different names give different stems, and none has more than STEM_BYTES in UTF-8. On disks that do not tell `A` from
    `a` this takes `file_stems`.
    """
    return name if safe_name(name) == name and not _MARKED.search(name) else _marked(name)


def file_stems(names: Iterable[str]) -> dict[str, str]:
    """{name: stem} of files that lie in one folder; also where the disk does not tell `A` from `a`, or ways to write é.

    Of names that differ in that alone, the first in alphabetical order stays as it is.
    """
    stems = dict.fromkeys(names, "")
    taken: set[str] = set()
    for name in sorted(stems):
        stem = file_stem(name)
        if _folded(stem) in taken:
            stem = _marked(name)
        taken.add(_folded(stem))
        stems[name] = stem
    return stems


def _marked(name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{safe_name(name, STEM_BYTES - _DIGEST - 1)}~{digest}"


def _folded(stem: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", stem).casefold())


def _cut(text: str, most_bytes: int) -> str:
    """The first part, without half a character at its end: neither of its bytes nor of what is drawn as one."""
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= most_bytes:
        return text
    kept = len(raw[:most_bytes].decode("utf-8", "ignore"))
    while kept and (unicodedata.combining(text[kept]) or text[kept] in _JOINED or text[kept - 1] == "\u200d"):
        kept -= 1
    return text[:kept]


def readable(path: str | os.PathLike[str]) -> str:
    """A path as text that can be written down: bytes of its name that are not UTF-8 stand as \\xff."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def pluralize(number: int, what: str) -> str:
    """ "1 video", "2 videos", "3 classes"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}{'es' if what.endswith('s') else 's'}"


def printable(text: str) -> str:
    """The same text; halves of characters, which UTF-8 cannot hold, stand as \\udcff."""
    return text.encode("utf-8", "backslashreplace").decode()


def csv_text(rows: Iterable[Sequence[Any]], quoting: Any = csv.QUOTE_MINIMAL) -> str:
    """Rows as a table with commas, lines ended by \\n, from which csv readers give back the very same cells."""
    lines = _Lines()
    csv.writer(lines, lineterminator="\r\n", quoting=quoting).writerows(rows)
    return "".join(lines.kept)


class _Lines:
    """What csv.writer writes to. It quotes a cell for the characters that end its own lines: so those are both."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def write(self, line: str) -> None:
        self.kept.append(line.removesuffix("\r\n") + "\n")
