"""Extract many videos to a folder: skip finished videos, record failures, write the manifest."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avloc.config import ExtractConfig
from avloc.errors import FormatError, InputError
from avloc.features import layout as layouts
from avloc.features.backbones import card
from avloc.features.choose import without_auto
from avloc.features.layout import LAYOUTS
from avloc.features.manifest import Row, manifest_path, read_manifest, write_manifest
from avloc.features.processes import extract_in_processes
from avloc.features.task import Job, check_options, done_row, weight_hashes
from avloc.formats.failures import Failure, write_failures
from avloc.media.find import name_videos
from avloc.system.isolate import Limits
from avloc.system.locks import folder_lock
from avloc.system.text import readable
from avloc.types import FeatureSequence, Progress, Short, exact

_log = logging.getLogger("avloc.extract")

_MANIFEST_EVERY_S = 60.0
_REMEDY = "Use another -o, or --overwrite to extract it again"


@dataclass(frozen=True, repr=False)
class Summary(Short):
    """Result for each video. `notes`: {video: remark} on videos that were extracted nevertheless."""

    done: tuple[str, ...]
    skipped: tuple[str, ...]
    failures: tuple[Failure, ...]
    notes: Mapping[str, str]


@dataclass(frozen=True, repr=False)
class Plan(Short):
    """What would be done with each video.

    Args:
        options: with the names of backbones in place of "auto".
        conflicts: {video: reason}, extracted with other options.
    """

    options: ExtractConfig
    todo: tuple[str, ...]
    skipped: tuple[str, ...]
    conflicts: Mapping[str, str]


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """Parse "3/16" to (3, 16), the third of sixteen parts. Raises InputError for anything else."""
    if text is None:
        return None
    first, sign, second = text.partition("/")
    if not (sign and first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
        raise InputError(f"--shard takes part/parts such as 3/16, got {text!r}")
    part, parts = int(first), int(second)
    if not 1 <= part <= parts:
        raise InputError(f"--shard {text}: the part must be 1 to {parts}")
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
    """Extract every video to `out/<video_id>.safetensors`, and list all of them in the manifest.

    Args:
        videos: files as `find_media` returns them; `name_videos` gives their names.
        options: backbones, grid, dtype, weights. A video already extracted with the same options is skipped; one
            extracted with others is an error, unless `overwrite`.
        workers: processes; a video that crashes, hangs or exhausts the memory of its process fails alone.
        progress: called with (videos done, total, name of the last one).
        layout: "npy" writes .npy files instead; see layout.py.
        shard: (part, parts): only every parts-th video, for machines that share nothing but a disk.
        ray: address of a Ray cluster, or "local".
        limits: per video, on memory and on time without progress; not applied on a cluster.

    Raises:
        InputError: `out` is not writable, holds features made with other options, or is in use by another process;
            weights are missing.
        StorageError: the disk is full, read-only or gone.
    """
    options = without_auto(options, out, progress)
    suffix = f"-{shard[0]}-of-{shard[1]}" if shard else ""
    job = _make_job(videos, out, options, layout)
    with folder_lock(out, "the features", suffix):
        todo, skipped = _unfinished(_shard(videos, shard), job, overwrite)
        if todo:
            check_options(job.options, load=ray is None, progress=progress)
        rows = _extract_rows(todo, job, workers, ray, limits)
        made = _collect(rows, len(todo), manifest_path(out, suffix), skipped, progress)
        failures = sorted(
            (Failure(row.video, row.path, row.reason) for row in made if row.status != "done"), key=lambda f: f.video_id
        )
        write_failures(out / f"failures{suffix}.csv", failures)
    return Summary(
        done=tuple(sorted(row.video for row in made if row.status == "done")),
        skipped=tuple(skipped),
        failures=tuple(failures),
        notes={row.video: row.note for row in made if row.note},
    )


def plan_all(
    videos: Sequence[Path],
    out: Path,
    options: ExtractConfig,
    overwrite: bool = False,
    layout: str = "safetensors",
    shard: tuple[int, int] | None = None,
) -> Plan:
    """What `extract_all` would do with the same arguments. Raises InputError for an unknown layout."""
    options = without_auto(options, out, download=False)
    job = _make_job(videos, out, options, layout)
    known = {} if overwrite else read_manifest(out)
    todo: list[str] = []
    skipped: list[str] = []
    conflicts: dict[str, str] = {}
    for path in _shard(videos, shard):
        name = job.names(path)
        try:
            row = None if overwrite else _finished_row(path, job, known)
        except InputError as error:
            conflicts[name] = str(error)
        else:
            (todo if row is None else skipped).append(name)
    return Plan(options, tuple(todo), tuple(skipped), conflicts)


def _shard(videos: Sequence[Path], shard: tuple[int, int] | None) -> Sequence[Path]:
    return videos if shard is None else videos[shard[0] - 1 :: shard[1]]


def _make_job(videos: Sequence[Path], out: Path, options: ExtractConfig, layout: str) -> Job:
    if layout not in LAYOUTS:
        raise InputError(f"--layout takes {' or '.join(LAYOUTS)}, got {layout!r}")
    return Job(out, options, layout, names=name_videos(videos))


def _unfinished(videos: Sequence[Path], job: Job, overwrite: bool) -> tuple[list[Path], dict[str, Row]]:
    """Videos to extract, and {video: row} of those already extracted."""
    known = read_manifest(job.out)
    todo: list[Path] = []
    skipped: dict[str, Row] = {}
    for path in videos:
        row = None if overwrite else _finished_row(path, job, known)
        if row is None:
            todo.append(path)
        else:
            skipped[row.video] = row
    return todo, skipped


def _extract_rows(
    todo: Sequence[Path], job: Job, workers: int, ray: str | None, limits: Limits | None
) -> Iterator[Row]:
    if ray is None or not todo:
        return extract_in_processes(todo, job, workers, limits)
    from avloc.features.ray_cluster import extract_on_ray

    return extract_on_ray(todo, job, ray, workers)


def _collect(
    rows: Iterator[Row], total: int, manifest: Path, skipped: Mapping[str, Row], progress: Progress | None
) -> list[Row]:
    """Collect the rows as they complete; write the manifest regularly and at the end."""
    made: list[Row] = []
    written = time.monotonic()
    for row in rows:
        made.append(row)
        if progress is not None:
            progress(len(made), total, Path(row.path).name)
        if time.monotonic() - written > _MANIFEST_EVERY_S:
            write_manifest(manifest, [*skipped.values(), *made])
            written = time.monotonic()
    if made or not skipped.items() <= read_manifest(manifest.parent).items() or not manifest.exists():
        write_manifest(manifest, [*skipped.values(), *made])
    return made


def _finished_row(path: Path, job: Job, known: Mapping[str, Row]) -> Row | None:
    """Row of a video already extracted with these options, else None; a damaged file counts as missing."""
    name = job.names(path)
    try:
        target = layouts.target(job.out, name, job.layout)
    except InputError:  # an unusable name; extraction will report it
        return None
    if not target.exists():
        return None
    try:
        features = layouts.load(job.out, name, job.layout)
    except FormatError:
        return None
    _check_same(target, features, job.options)
    row = known.get(name)
    if row is None or row.status != "done":
        return done_row(path, features, job, 0.0)
    return replace(row, path=readable(path.absolute()))  # the file may have moved


def _check_same(target: Path, features: FeatureSequence, options: ExtractConfig) -> None:
    """Raise InputError if a finished file was made with other options or weights."""
    made = {name: features.source.backbones.get(name) for name in ("visual", "audio")}
    details = features.source.details
    rate = details.get("visual_rate_hz")
    wanted_rate = None if options.fps is None or options.visual is None else str(exact(options.fps))
    same = all(made[name] in (None, getattr(options, name)) for name in made)  # an absent modality suits any
    if not same or features.grid.step_s != options.step or rate != wanted_rate:
        raise InputError(
            f"{target}: extracted with visual={made['visual'] or 'none'}, audio={made['audio'] or 'none'}, "
            f"step_s={float(features.grid.step_s):g}, fps={rate or 'own'}; requested "
            f"visual={options.visual or 'none'}, audio={options.audio or 'none'}, "
            f"step_s={float(options.step):g}, fps={wanted_rate or 'own'}. {_REMEDY}"
        )
    for kind, wanted in (("video", options.streams.video), ("audio", options.streams.audio)):
        used, asked = details.get(f"{kind}_stream"), details.get(f"{kind}_stream_option")
        if asked if wanted is None else str(wanted) not in (asked, used or "1"):
            raise InputError(
                f"{target}: extracted with {kind}_stream={asked or f'by flags ({used or 1})'}; requested "
                f"{kind}_stream={wanted or 'by flags'}. {_REMEDY}"
            )
    for modality, name in features.source.backbones.items():
        old, new = features.source.version(modality), card(name).version
        if old != new:
            raise InputError(f"{target}: extracted with version {old} of {name}; this is version {new}. {_REMEDY}")
    for modality, hashes in weight_hashes(options).items():
        weights = details.get(f"{modality}_weights", "")
        if weights and not all(each in weights for each in hashes):
            raise InputError(
                f"{target}: extracted with the weights {weights}; requested other weights "
                f"({', '.join(hashes)}). {_REMEDY}"
            )
