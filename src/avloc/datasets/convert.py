"""Convert data sets to avloc's files, one video at a time.

OUT/features/<video>.safetensors    both modalities on one snippet grid
OUT/labels.csv                      weak labels and subsets
OUT/ground_truth.json               ActivityNet's schema; LLP also ground_truth_audio.json, ground_truth_visual.json
OUT/ambiguous.txt                   THUMOS14 only
OUT/failures.csv                    videos whose features could not be read, with reasons
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Literal

from avloc.datasets.collection import Collection, Features
from avloc.datasets.tracks import Tracks
from avloc.errors import AvlocError, ConfigError, InputError
from avloc.formats.annotations import write_annotations
from avloc.formats.failures import FAILURES, Failure, write_failures
from avloc.formats.features import save_features
from avloc.formats.labels import write_labels
from avloc.system.atomic import atomic_write, inside
from avloc.system.text import printable
from avloc.types import Progress


@dataclass(frozen=True)
class Imported:
    """Outcome of a conversion.

    Args:
        done, skipped: videos written now, and those that existed.
        without_features: annotated or labelled videos without a feature file.
        labelled_without_features: those of them with weak labels.
        unknown: videos with features but without labels or annotations; written too.
    """

    done: tuple[str, ...]
    skipped: tuple[str, ...]
    failures: tuple[Failure, ...]
    without_features: tuple[str, ...]
    labelled_without_features: tuple[str, ...]
    unknown: tuple[str, ...]


def import_collection(
    collection: Collection,
    out: Path,
    step_s: Fraction | None = None,
    rule: str = "mean",
    dtype: Literal["float32", "float16"] = "float32",
    overwrite: bool = False,
    progress: Progress = lambda done, total, text: None,
) -> Imported:
    """Write a data set as avloc's files. Existing features are skipped unless `overwrite`.

    Videos that cannot be read, or whose name cannot be a file name, are recorded as failures.

    Args:
        step_s: seconds between snippets; None keeps the clock of the first visual features, else of the first features.
        rule: of resampling features onto this grid; see `datasets.resample`.
        dtype: float16 halves the files; training reads either.

    Raises:
        InputError: an unknown rule, or a `step_s` for avloc's own features. ConfigError: an unknown dtype.
        FormatError: the axes of the features of all videos cannot be told.
    """
    if dtype not in ("float32", "float16"):
        raise ConfigError(f"--dtype takes float32 or float16, got {dtype!r}")
    features: Features | None = collection.features
    if isinstance(features, Tracks):
        features.check_axes()
    _write_tables(collection, out)
    if isinstance(features, Tracks):
        features = features.onto(step_s, rule)
    elif features is not None and step_s is not None:
        raise InputError("avloc's own features keep their grid; --step-s is for other features")
    ids = features.ids if features is not None else ()
    durations = collection.durations_s
    done, skipped, failures = [], [], []
    for k, video in enumerate(ids):
        try:
            target = _target(out / "features", video)
            if target.exists() and not overwrite:
                skipped.append(video)
                continue
            assert features is not None
            save_features(target, features.load(video, durations.get(video)), dtype)
            done.append(video)
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
