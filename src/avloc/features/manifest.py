"""The manifest: a table of all videos with their status, extraction time and feature shapes.

Parquet if pyarrow is installed (the "ray" and "export" extras), else CSV with the same columns. It is rewritten
atomically about once a minute and at the end of a run. After a killed run, the next one completes it from the feature
files.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from avloc.errors import FormatError
from avloc.formats.records import read_records
from avloc.formats.untrusted.bombs import check_growth
from avloc.formats.untrusted.budget import Budget
from avloc.system.atomic import atomic_path, atomic_write
from avloc.system.text import csv_text, nfc

_log = logging.getLogger("avloc")
_NESTED = 3
"""Videos of one name in several folders have features in as many subfolders."""

_BATCH = 64
_DAMAGED = (ValueError, KeyError, TypeError, OSError, RuntimeError, ArithmeticError, MemoryError, csv.Error)


@dataclass(frozen=True)
class Row:
    """A video in the manifest.

    Args:
        status: "done", or "failed" with `reason`.
        note: remarks on a video that was extracted nevertheless: missing audio, damage.
        seconds: extraction time; 0 if unknown.
        duration_s: length of the video; snippets, visual_size, audio_size: shape of its features, 0 if absent.
        bytes: total size of its feature files.
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
    """Manifest file of a folder; `part` is the suffix of a shard."""
    return out / f"manifest{part}{'.parquet' if find_spec('pyarrow') else '.csv'}"


def write_manifest(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows, sorted by video, atomically."""
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
    """{video: row} of a folder's manifest, all shards merged; empty if there is none.

    Raises:
        FormatError: an unreadable manifest.
    """
    rows: dict[str, Row] = {}
    for path in sorted([*out.glob("manifest*.csv"), *out.glob("manifest*.parquet")], key=_written):
        try:
            rows |= {nfc(row.video): replace(row, video=nfc(row.video)) for row in map(_row, _records(path))}
        except _DAMAGED as error:
            raise FormatError(
                f"{path}: expected a manifest of avloc extract, but it is unreadable ({error}); move it away, or "
                "choose another folder"
            ) from error
    return rows


def _written(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0  # a link to nothing


def extracted_from(files: Sequence[Path]) -> dict[str, Path]:
    """{video_id: video file} by the manifests of feature files' folders, of the videos that are still there."""
    homes = {home for path in files if path.suffix == ".safetensors" for home in path.parents[:_NESTED]}
    found: dict[str, Path] = {}
    for home in sorted(homes):
        try:
            found |= {video: Path(row.path) for video, row in read_manifest(home).items() if row.status == "done"}
        except FormatError as error:
            _log.warning("%s", error)
    return {video: path for video, path in found.items() if path.is_file()}


def _records(path: Path) -> Iterable[dict[str, Any]]:
    if path.suffix == ".parquet":
        from pyarrow import parquet

        budget = Budget(path, path.stat().st_size)
        records: list[dict[str, Any]] = []
        texts = [field.name for field in fields(Row) if field.type == "str"]
        with parquet.ParquetFile(path, read_dictionary=texts) as file:  # a text that repeats is kept once
            check_growth(path, _expanded(file.metadata), path.stat().st_size, "its content")
            for batch in file.iter_batches(batch_size=_BATCH):
                budget.charge(sum(map(_decoded, batch.columns)) + _BATCH * batch.num_columns)
                records += batch.to_pylist()
        return records
    return read_records(path)


def _expanded(metadata: Any) -> int:
    """Bytes of all columns without compression, as the file's end states them."""
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    return sum(group.column(k).total_uncompressed_size for group in groups for k in range(group.num_columns))


def _decoded(column: Any) -> int:
    """Bytes of a column as a text for each row, found without making them."""
    from pyarrow import compute

    if not hasattr(column, "dictionary"):
        return int(column.nbytes)
    return int(compute.sum(compute.binary_length(column.dictionary).take(column.indices)).as_py() or 0)


def _row(record: dict[str, Any]) -> Row:
    kinds = {"str": str, "float": float, "int": int}
    return Row(**{field.name: kinds[str(field.type)](record[field.name]) for field in fields(Row)})
