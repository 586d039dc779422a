"""The table of all videos: what became of each, how long it took, how large it is.

Parquet when pyarrow is there (the "ray" and "export" extras bring it), else CSV with the same columns. It is written
whole at the end of a run and now and then before; a run that is killed loses nothing by it, because the next one fills
it in from the feature files.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from avloc.errors import FormatError
from avloc.system.atomic import atomic_path, atomic_write
from avloc.system.text import csv_text

__all__ = ["Row", "manifest_path", "read_manifest", "write_manifest"]


@dataclass(frozen=True)
class Row:
    """A video in the manifest.

    Args:
        status: "done", or "failed" with the reason.
        note: remarks on one that was done all the same: no sound, damage.
        seconds: that its extraction took; 0 when a run found it done and nobody knew.
        duration_s: length of the video; snippets, visual_size, audio_size: shape of its features, 0 for none.
        bytes: of its files.
    """

    video: str
    path: str
    status: str
    reason: str = ""
    note: str = ""
    seconds: float = 0.0
    duration_s: float = 0.0
    snippets: int = 0
    visual_size: int = 0
    audio_size: int = 0
    bytes: int = 0


def manifest_path(out: Path, part: str = "") -> Path:
    """Where the manifest of a folder is written; `part` tells the shards apart."""
    return out / f"manifest{part}{'.parquet' if find_spec('pyarrow') else '.csv'}"


def write_manifest(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows, sorted by video; the file appears whole or not at all."""
    ordered = sorted(rows, key=lambda row: row.video)
    names = [field.name for field in fields(Row)]
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        kinds = {"str": pyarrow.string(), "float": pyarrow.float64(), "int": pyarrow.int64()}
        schema = pyarrow.schema([(field.name, kinds[str(field.type)]) for field in fields(Row)])
        columns = {name: [getattr(row, name) for row in ordered] for name in names}
        with atomic_path(path) as part:
            parquet.write_table(pyarrow.table(columns, schema=schema), part)
        return
    atomic_write(path, csv_text([names, *(astuple(row) for row in ordered)]))


def read_manifest(out: Path) -> dict[str, Row]:
    """{video: row} of a folder's manifest, all shards together; empty when there is none.

    Raises:
        FormatError: a manifest that cannot be read.
    """
    rows: dict[str, Row] = {}
    for path in sorted([*out.glob("manifest*.csv"), *out.glob("manifest*.parquet")], key=lambda p: p.stat().st_mtime):
        try:
            rows |= {row.video: row for row in map(_row, _records(path))}
        except (
            ValueError,
            KeyError,
            TypeError,
            OSError,
            RuntimeError,
            ArithmeticError,
            MemoryError,
            csv.Error,
        ) as error:
            raise FormatError(
                f"{path}: expected a manifest of avloc extract, cannot read it ({error}); delete it"
            ) from error
    return rows


def _records(path: Path) -> Iterable[dict[str, Any]]:
    if path.suffix == ".parquet":
        from pyarrow import parquet

        return parquet.read_table(path).to_pylist()
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _row(record: dict[str, Any]) -> Row:
    kinds = {"str": str, "float": float, "int": int}
    return Row(**{field.name: kinds[str(field.type)](record[field.name]) for field in fields(Row)})
