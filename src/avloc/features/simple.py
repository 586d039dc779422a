"""`avloc.extract`: extract features from paths, with settings as keywords."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from avloc.config import preset, setting_names
from avloc.config.arguments import Count, checked
from avloc.features.folder import Summary, extract_all, parse_shard
from avloc.media.find import as_path, find_media
from avloc.system.isolate import Limits
from avloc.types import Progress


@checked(lambda: setting_names("extract"))
def extract(
    videos: Iterable[str | Path] | str | Path,
    out: str | Path,
    workers: Count = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    *,
    layout: Literal["safetensors", "npy"] = "safetensors",
    shard: tuple[int, int] | None = None,
    ray: str | None = None,
    limits: Limits | None = None,
    **options: Any,
) -> Summary:
    """Extract snippet features from videos, one file per video. Finished videos are skipped; failures are recorded.

        avloc.extract(["videos/"], "features", workers=2, step_s=0.64)

    Args:
        videos: files, folders and globs.
        out: folder of the features.
        workers, overwrite, progress, layout, shard, ray, limits: as in `avloc.features.folder.extract_all`; `progress`
            is called with (videos done, total, name of the last one), and during a download of weights with kB.
        options: settings of `extract.*`: visual, audio, step_s, frames_per_snippet, fps, video_stream, audio_stream,
            weights, dtype, device, precision, compile (docs/config.md). visual=None or audio=None leaves one out.

    Returns:
        Which videos were done, skipped and failed.

    Raises:
        InputError: a path does not exist, there is no video, weights are missing, or `out` holds features made with
        other options. ConfigError: an unknown argument or option (similar ones are named), or a value out of range.
        StorageError: the disk is full or unavailable.
    """
    if shard is not None:
        parse_shard("{}/{}".format(*shard))
    settings = preset("default", {f"extract.{name}": value for name, value in options.items()}).extract
    return extract_all(
        find_media(videos),
        as_path(out),
        settings,
        workers,
        overwrite,
        progress,
        layout=layout,
        shard=shard,
        ray=ray,
        limits=limits,
    )
