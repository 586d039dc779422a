"""Tables that avloc writes beside its results, read as one dict per row, whoever wrote them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from avloc.formats.untrusted.bombs import read_document

MOST_COLUMNS = 1_000
"""Of a table with a header; those of avloc have about ten."""


def read_records(path: Path) -> Iterator[dict[str, str]]:
    """Rows as {column: cell}; a row that is too short lacks its last columns. Blank rows are skipped.

    Raises:
        ValueError: not UTF-8, or more than `MOST_COLUMNS`. csv.Error: not a table. OSError: not a file.
        FormatError: too large.
    """
    if not path.is_file():
        raise OSError("it is not a file")
    yield from parse_records(io.StringIO(read_document(path).decode("utf-8"), newline=""))


def parse_records(text: io.TextIOBase | io.StringIO, strict: bool = False) -> Iterator[dict[str, str]]:
    """As `read_records`, of an open file; `strict` as in csv.reader."""
    reader = csv.reader(text, strict=strict)
    header = next(reader, [])
    if len(header) > MOST_COLUMNS:
        raise ValueError(f"a header of {len(header)} columns")
    for row in reader:
        if row:
            yield dict(zip(header, row, strict=False))
