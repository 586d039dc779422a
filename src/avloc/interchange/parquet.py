"""Parquet: segments.csv as a typed table, for pandas, R, DuckDB, Spark. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avloc.errors import InputError
from avloc.interchange.segments import VideoSegments
from avloc.system.atomic import atomic_path
from avloc.system.text import printable
from avloc.types import Detection


def write_parquet(path: Path | str, videos: Sequence[VideoSegments]) -> None:
    """Write all videos' segments: video, start_s, end_s (float64), label, score (float64, null for ground truth).

    Raises:
        InputError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError("Parquet needs pyarrow: pip install 'avloc[export]'") from error
    rows = [(video.video_id, item) for video in videos for item in video.segments]
    text, number = pyarrow.string(), pyarrow.float64()
    table = pyarrow.table(
        {
            "video": pyarrow.array([printable(video) for video, _ in rows], text),
            "start_s": pyarrow.array([item.start_s for _, item in rows], number),
            "end_s": pyarrow.array([item.end_s for _, item in rows], number),
            "label": pyarrow.array([printable(item.label) for _, item in rows], text),
            "score": pyarrow.array([i.score if isinstance(i, Detection) else None for _, i in rows], number),
        }
    )
    with atomic_path(path) as part:
        pyarrow.parquet.write_table(table, part)
