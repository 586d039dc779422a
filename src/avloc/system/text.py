"""Safe use of external names and labels: as file names, in tables and as text.

file_stem("dog")     'dog'                  an ordinary name is unchanged
file_stem("a/b")     'a_b~c14cddc033f6'     a changed name gets a digest, which keeps it unique
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

STEM_BYTES = 200
"""Longest file stem in bytes; with avloc's suffixes it is below 255, the limit of file systems."""

_REFUSED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')
"""Characters that file systems refuse, line breaks, bidirectional controls and lone surrogates."""

_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{p}{n}" for p in ("COM", "LPT") for n in "0123456789¹²³"
}
"""Reserved device names of Windows, with any extension."""

_DIGEST = 12
_MARKED = re.compile(rf"~[0-9a-f]{{{_DIGEST}}}\Z", re.IGNORECASE)
_JOINED = {"\u200d", "\ufe0e", "\ufe0f"}


def fingerprint(facts: Any) -> str:
    """Short hash of plain data, the same on every machine."""
    return hashlib.sha256(json_text(facts, sort_keys=True).encode()).hexdigest()[:16]


def json_text(value: Any, **options: Any) -> str:
    """JSON by RFC 8259, which has no NaN and no infinity: they become null. `options` as of `json.dumps`."""
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value


def nfc(name: str) -> str:
    """A name in Unicode's composed form (NFC).

    The same name is decomposed on disks of macOS and composed in tables: names of videos and classes are brought to one
    form wherever they are read. Paths stay as they are.
    """
    return unicodedata.normalize("NFC", name)


def safe_name(text: str, max_bytes: int = STEM_BYTES) -> str:
    """A file name that is valid on every system, as close to the text as possible; not unique."""
    name = _cut(_REFUSED.sub("_", text).strip(". "), max_bytes).rstrip(". ")
    if name.partition(".")[0].rstrip(" ").upper() in _DEVICES:
        name = _cut("_" + name, max_bytes)
    return name or "_"


def file_stem(name: str) -> str:
    """A video's name as a file name without suffix: unchanged if it is valid, otherwise with a digest.

    Different names give different stems of at most STEM_BYTES in UTF-8. For file systems that ignore case, use
    `file_stems`.
    """
    return name if safe_name(name) == name and not _MARKED.search(name) else _marked(name)


def file_stems(names: Iterable[str]) -> dict[str, str]:
    """{name: stem} for files in one folder, distinct also on file systems that ignore case or Unicode normalization.

    Of names that differ only in these, the first in alphabetical order is unchanged.
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
    return nfc(nfc(stem).casefold())


def _cut(text: str, max_bytes: int) -> str:
    """Truncate at a character boundary, and never inside a combining or joined sequence."""
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= max_bytes:
        return text
    kept = len(raw[:max_bytes].decode("utf-8", "ignore"))
    while kept and (unicodedata.combining(text[kept]) or text[kept] in _JOINED or text[kept - 1] == "\u200d"):
        kept -= 1
    return text[:kept]


def readable(path: str | os.PathLike[str]) -> str:
    """A path as valid text; bytes that are not UTF-8 are escaped as \\xff."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def pluralize(number: int, what: str) -> str:
    """A number with its noun: "1 video", "2 videos", "3 classes"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}{'es' if what.endswith('s') else 's'}"


def printable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot encode, escaped as \\udcff."""
    return text.encode("utf-8", "backslashreplace").decode()


def csv_text(rows: Iterable[Sequence[Any]], quoting: Any = csv.QUOTE_MINIMAL) -> str:
    """Rows as CSV with \\n line ends; CSV readers recover exactly the same cells."""
    lines = _Lines()
    csv.writer(lines, lineterminator="\r\n", quoting=quoting).writerows(rows)
    return "".join(lines.kept)


class _Lines:
    """Target for csv.writer: lines are written with \\r\\n, so that cells with either character get quoted."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def write(self, line: str) -> None:
        self.kept.append(line.removesuffix("\r\n") + "\n")
