"""Convert data sets to avloc's files, one video at a time.

OUT/features/<video>.safetensors    both modalities on one snippet grid
OUT/features_grid/...               the same, visual rows with their positions in the frame (--grid)
OUT/labels.csv                      weak labels and subsets
OUT/ground_truth.json               ActivityNet's schema; LLP also ground_truth_audio.json, ground_truth_visual.json
OUT/ambiguous.txt                   THUMOS14 only
OUT/failures.csv                    videos whose features could not be read, with reasons
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Literal

from avloc.datasets.collection import Collection, Features
from avloc.datasets.resample import check_rule
from avloc.datasets.stale import earlier_files, removed_note, with_options
from avloc.datasets.tracks import Tracks
from avloc.errors import AvlocError, ConfigError, InputError, StorageError
from avloc.formats.annotations import write_annotations
from avloc.formats.failures import FAILURES, Failure, write_failures
from avloc.formats.features import save_features
from avloc.formats.labels import write_labels
from avloc.system.atomic import atomic_write, inside
from avloc.system.locks import folder_lock
from avloc.system.outputs import check_inside, discard
from avloc.system.text import printable
from avloc.types import Progress
from avloc.vocabulary import GRID_FEATURES

FEATURES = "features"


@dataclass(frozen=True)
class Imported:
    """Outcome of a conversion.

    Args:
        done, skipped: videos written now, and those that existed.
        without_features: annotated or labelled videos without a feature file.
        labelled_without_features: those of them with weak labels.
        unknown: videos with features but without labels or annotations; written too.
        notes: on files that were removed.
    """

    done: tuple[str, ...]
    skipped: tuple[str, ...]
    failures: tuple[Failure, ...]
    without_features: tuple[str, ...]
    labelled_without_features: tuple[str, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...] = ()


def import_collection(
    collection: Collection,
    out: Path,
    step_s: Fraction | None = None,
    rule: str = "mean",
    dtype: Literal["float32", "float16"] = "float32",
    overwrite: bool = False,
    progress: Progress = lambda done, total, text: None,
    grid: bool = False,
) -> Imported:
    """Write a data set as avloc's files. Existing features are skipped unless `overwrite`.

    `overwrite` first removes features that an earlier conversion with other options has left.

    Videos that cannot be read, or whose name cannot be a file name, are recorded as failures.

    Args:
        step_s: seconds between snippets; None keeps the clock of the first visual features, else of the first features.
        rule: of resampling features onto this grid; see `datasets.resample`.
        dtype: float16 halves the files; training reads either.
        grid: also write features that keep the positions in the frame.

    Raises:
        InputError: an unknown rule; a `step_s` or `grid` for avloc's own features; videos of different steps; features
            without positions; OUT holds features of other options, or another process uses it.
        ConfigError: an unknown dtype.
        FormatError: the axes of the features of all videos cannot be told.
        StorageError: the disk is full, read-only or unavailable.
    """
    if dtype not in ("float32", "float16"):
        raise ConfigError(f"--dtype takes float32 or float16, got {dtype!r}")
    check_rule(rule)
    features: Features | None = collection.features
    usual_step = None
    if isinstance(features, Tracks):
        features.check_axes()
        features = features.onto(step_s, rule)
        usual_step = features.common_step()
    elif step_s is not None or grid:
        option = "--step-s" if step_s is not None else "--grid"
        raise InputError(f"{option} is for features of other projects; avloc's own keep their grid")
    own = getattr(features, "stored_in", None)
    if own is not None and (out / FEATURES).resolve().is_relative_to(Path(own).resolve()):
        raise InputError(f"{out}: expected another output folder than that of the features themselves")
    stores: dict[str, Features] = {} if features is None else {FEATURES: features}
    if grid and isinstance(features, Tracks):
        stores[GRID_FEATURES] = features.with_positions()
    options = {
        "data": collection.name,
        **collection.options,
        "step_s": str(step_s or "own"),
        "rule": rule,
        "dtype": dtype,
    }
    with folder_lock(out, "the converted data"):
        return _convert(collection, out, stores, options, usual_step, overwrite, progress)


def _convert(
    collection: Collection,
    out: Path,
    stores: Mapping[str, Features],
    options: Mapping[str, str],
    usual_step: Fraction | None,
    overwrite: bool,
    progress: Progress,
) -> Imported:
    ids = stores[FEATURES].ids if stores else ()
    there: dict[str, frozenset[str]] = {}
    stale: list[Path] = []
    for name in (FEATURES, GRID_FEATURES) if stores else ():
        check_inside(out / name / "_")
        there[name], gone = earlier_files(out / name, set(ids), options, overwrite)
        stale += gone
    for path in stale:
        discard(path)
    _write_tables(collection, out)
    durations = collection.durations_s
    done: list[str] = []
    skipped: list[str] = []
    failures: list[Failure] = []
    for k, video in enumerate(ids):
        try:
            missing = [name for name in stores if video not in there[name]]
            for name in missing:
                target = _target(out / name, video)
                made = stores[name].load(video, durations.get(video))
                if usual_step not in (None, made.grid.step_s):
                    raise InputError(
                        f"{video}: expected {float(usual_step or 0):g} s per row, as in the other videos, got "
                        f"{float(made.grid.step_s):g} s; resample all with --step-s"
                    )
                save_features(target, with_options(made, options), options["dtype"])  # type: ignore[arg-type]
            (done if missing else skipped).append(video)
        except StorageError:  # the next video would fail too
            raise
        except (AvlocError, ValueError) as error:
            failures.append(Failure(printable(video), "", str(error)))
        progress(k + 1, len(ids), video)
    write_failures(out / FAILURES, failures)
    known, labelled = set(ids), {row.video_id for row in collection.labels.rows}
    absent = tuple(video for video in durations if video not in known)
    return Imported(
        tuple(done),
        tuple(skipped),
        tuple(failures),
        absent,
        tuple(video for video in absent if video in labelled),
        tuple(video for video in ids if video not in labelled and video not in durations),
        (removed_note(stale),) * bool(stale),
    )


def _write_tables(collection: Collection, out: Path) -> None:
    if len(collection.labels):
        write_labels(out / "labels.csv", collection.labels)
    if collection.annotations:
        write_annotations(out / "ground_truth.json", collection.annotations, f"avloc 1, from {collection.name}")
    for name, part in collection.parts.items():
        write_annotations(out / f"ground_truth_{name}.json", part, f"avloc 1, from {collection.name}, {name}")
    if collection.ambiguous:
        lines = [f"{i.video_id} {i.start_s:g} {i.end_s:g}\n" for i in collection.ambiguous]
        atomic_write(out / "ambiguous.txt", "".join(lines))


def _target(folder: Path, video: str) -> Path:
    """The feature file of a video, inside `folder` whatever its name."""
    parts = PurePosixPath(video).parts
    unwritable = any(c in video for c in "\\\0:") or printable(video) != video
    if not video or PurePosixPath(video).is_absolute() or {"..", "."} & set(parts) or unwritable:
        raise InputError(f"the video name {video!r} cannot be a file name; rename it")
    return inside(folder, f"{video}.safetensors")
