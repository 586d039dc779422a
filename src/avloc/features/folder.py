"""A folder of videos to a folder of features: what is done is skipped, what failed is named."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avloc.config import ExtractConfig
from avloc.errors import FormatError, InputError
from avloc.features import layout as layouts
from avloc.features.layout import LAYOUTS
from avloc.features.manifest import Row, manifest_path, read_manifest, write_manifest
from avloc.features.processes import spread
from avloc.features.task import Job, check_options, describe, weight_hashes
from avloc.formats.failures import Failure, write_failures
from avloc.media.find import name_videos
from avloc.system.isolate import Limits
from avloc.system.locks import folder_lock
from avloc.types import FeatureSequence, Progress, exact

__all__ = ["Plan", "Summary", "extract_all", "parse_shard", "plan_all"]

_log = logging.getLogger("avloc.extract")

_MANIFEST_EVERY_S = 60.0


@dataclass(frozen=True)
class Summary:
    """What became of each video. `notes` are remarks on videos that were done all the same."""

    done: tuple[str, ...]
    skipped: tuple[str, ...]
    failures: tuple[Failure, ...]
    notes: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What would become of each video. `conflicts`: {video: why}, done with other options."""

    todo: tuple[str, ...]
    skipped: tuple[str, ...]
    conflicts: Mapping[str, str]


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """ "3/16" as (3, 16): the third of sixteen parts. InputError for anything else."""
    if text is None:
        return None
    first, sign, second = text.partition("/")
    if not (sign and first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
        raise InputError(f"--shard takes part/parts such as 3/16, got {text!r}")
    part, parts = int(first), int(second)
    if not 1 <= part <= parts:
        raise InputError(f"--shard {text}: the part counts from 1 to {parts}")
    return part, parts


def extract_all(
    videos: Sequence[Path],
    out: Path,
    options: ExtractConfig,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    *,
    layout: str = "safetensors",
    shard: tuple[int, int] | None = None,
    ray: str | None = None,
    limits: Limits | None = None,
) -> Summary:
    """Extract every video to `out/<video_id>.safetensors`, and list them all in the manifest.

    Args:
        videos: files as `find_media` gives them; they are called as `name_videos` says.
        options: backbones, grid, dtype, weights. A video already done with the same options is skipped; one done with
            others is an error, unless `overwrite`.
        workers: processes that decode; a video that crashes one, hangs it or fills its memory costs itself only.
        progress: called with (videos done, videos, name of the last).
        layout: "npy" writes the field's .npy files instead; see layout.py.
        shard: (part, parts): only every parts-th video, for machines that share a disk and nothing else.
        ray: address of a Ray cluster, or "local".
        limits: of time without progress and of memory, for one video; not on a cluster.

    Raises:
        InputError: `out` cannot be written, holds features made with other options, or another process is at work
            there; weights are missing. StorageError: the disk is full, read-only or gone.
    """
    part = f"-{shard[0]}-of-{shard[1]}" if shard else ""
    mine, job = _share(videos, shard), _job(videos, out, options, layout)
    with folder_lock(out, "the features", part):
        return _extract(mine, job, part, overwrite, lambda todo: _rows(todo, job, workers, ray, limits), progress)


def plan_all(
    videos: Sequence[Path],
    out: Path,
    options: ExtractConfig,
    overwrite: bool = False,
    layout: str = "safetensors",
    shard: tuple[int, int] | None = None,
) -> Plan:
    """What `extract_all` would do with the same arguments. Raises InputError: no such layout."""
    job = _job(videos, out, options, layout)
    known = {} if overwrite else read_manifest(out)
    todo: list[str] = []
    skipped: list[str] = []
    conflicts: dict[str, str] = {}
    for path in _share(videos, shard):
        name = job.names(path)
        try:
            row = None if overwrite else _finished(path, job, known)
        except InputError as error:
            conflicts[name] = str(error)
        else:
            (todo if row is None else skipped).append(name)
    return Plan(tuple(todo), tuple(skipped), conflicts)


def _share(videos: Sequence[Path], shard: tuple[int, int] | None) -> Sequence[Path]:
    return videos if shard is None else videos[shard[0] - 1 :: shard[1]]


def _job(videos: Sequence[Path], out: Path, options: ExtractConfig, layout: str) -> Job:
    if layout not in LAYOUTS:
        raise InputError(f"--layout takes {' or '.join(LAYOUTS)}, got {layout!r}")
    return Job(out, options, layout, names=name_videos(videos))


def _extract(
    videos: Sequence[Path],
    job: Job,
    part: str,
    overwrite: bool,
    rows: Callable[[Sequence[Path]], Iterator[Row]],
    progress: Progress | None,
) -> Summary:
    known = read_manifest(job.out)
    todo: list[Path] = []
    skipped: dict[str, Row] = {}
    for path in videos:
        row = None if overwrite else _finished(path, job, known)
        if row is None:
            todo.append(path)
        else:
            skipped[row.video] = row
    made = _collect(rows(todo), len(todo), manifest_path(job.out, part), skipped, progress)
    failures = tuple(Failure(row.video, row.path, row.reason) for row in made if row.status != "done")
    write_failures(job.out / f"failures{part}.csv", failures)
    return Summary(
        done=tuple(sorted(row.video for row in made if row.status == "done")),
        skipped=tuple(skipped),
        failures=tuple(sorted(failures, key=lambda f: f.video_id)),
        notes={row.video: row.note for row in made if row.note},
    )


def _rows(todo: Sequence[Path], job: Job, workers: int, ray: str | None, limits: Limits | None) -> Iterator[Row]:
    if todo:
        check_options(job.options, load=ray is None)
    if ray is None or not todo:
        return spread(todo, job, workers, limits)
    from avloc.features.ray_cluster import spread_over_ray

    return spread_over_ray(todo, job, ray, workers)


def _collect(
    rows: Iterator[Row], total: int, manifest: Path, skipped: Mapping[str, Row], progress: Progress | None
) -> list[Row]:
    """Take the rows as they come; the manifest is written now and then, and at the end."""
    made: list[Row] = []
    written = time.monotonic()
    for row in rows:
        made.append(row)
        if progress is not None:
            progress(len(made), total, Path(row.path).name)
        if time.monotonic() - written > _MANIFEST_EVERY_S:
            write_manifest(manifest, [*skipped.values(), *made])
            written = time.monotonic()
    if made or not manifest.exists():
        write_manifest(manifest, [*skipped.values(), *made])
    return made


def _finished(path: Path, job: Job, known: Mapping[str, Row]) -> Row | None:
    """The row of a video that is done with these options, else None; a damaged file counts as not there."""
    name = job.names(path)
    try:
        target = layouts.target(job.out, name, job.layout)
    except InputError:  # its name says why; the work on it will say so
        return None
    if not target.exists():
        return None
    try:
        features = layouts.load(job.out, name, job.layout)
    except FormatError:
        return None
    _check_same(target, features, job.options)
    row = known.get(name)
    return row if row is not None and row.status == "done" else describe(path, features, job, 0.0)


def _check_same(target: Path, features: FeatureSequence, options: ExtractConfig) -> None:
    """InputError when a finished file was made with other options."""
    made = {name: features.source.get(name, "none") for name in ("visual", "audio")}
    rate = features.source.get("visual_rate_hz")
    wanted_rate = None if options.fps is None or options.visual is None else str(exact(options.fps))
    same = all(_same_backbone(made[name], getattr(options, name)) for name in made)
    if same and features.grid.step_s == options.step and rate == wanted_rate:
        _check_weights(target, features, options)
        return
    wanted = {name: getattr(options, name) or "none" for name in made}
    raise InputError(
        f"{target}: was extracted with visual={made['visual']}, audio={made['audio']}, "
        f"step_s={float(features.grid.step_s):g}, fps={rate or 'own'}; now visual={wanted['visual']}, "
        f"audio={wanted['audio']}, step_s={float(options.step):g}, fps={wanted_rate or 'own'} are asked for. "
        "Use another -o, or --overwrite to redo it"
    )


def _same_backbone(made: str, wanted: str | None) -> bool:
    """Whether a source agrees with a name; "none: no sound stream" agrees with every one."""
    return made.startswith("none") if wanted is None else made == wanted or made.startswith("none")


def _check_weights(target: Path, features: FeatureSequence, options: ExtractConfig) -> None:
    for modality, hashes in weight_hashes(options).items():
        made = features.source.get(f"{modality}_weights", "")
        if made and not all(each in made for each in hashes):
            raise InputError(
                f"{target}: was extracted with the weights {made}; now others are asked for ({', '.join(hashes)}). "
                "Use another -o, or --overwrite to redo it"
            )
