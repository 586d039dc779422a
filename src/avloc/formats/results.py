"""A results folder, as `avloc localize` writes it: segments, scores/, videos.csv, run.yaml."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from avloc.config import likely_from
from avloc.errors import FormatError, InputError
from avloc.formats.activations import activation_files, load_activations
from avloc.formats.detections import _renaming, read_detections
from avloc.system.atomic import inside
from avloc.system.text import csv_text, readable
from avloc.types import ActivationSequence, Detection

__all__ = ["Localized", "RunSource", "find_run", "read_activations", "segments_file", "videos_beside"]


@dataclass(frozen=True)
class RunSource:
    """Detections of one run, and what lies beside them.

    Args:
        folder: what `avloc localize` wrote; None for a bare file of detections.
        paths: {video_id: file} as far as the run noted them.
        options: its `localize` settings.
    """

    name: str
    table: Path
    folder: Path | None
    detections: Mapping[str, tuple[Detection, ...]]
    paths: Mapping[str, Path] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def likely_from(self) -> float:
        """Score from which its detections count as found; 0 when nobody knows what they were decoded by."""
        return likely_from(str(self.options.get("decode", "")))

    def activations(self, video_id: str) -> ActivationSequence | None:
        """Of one video, when they were kept."""
        if self.folder is None:
            return None
        try:
            file = inside(self.folder / "scores", f"{video_id}.safetensors")
        except InputError:  # no localization wrote scores under such a name
            return None
        return load_activations(file) if file.is_file() else None

    def videos(self) -> tuple[str, ...]:
        """Those it is about, also those without detections."""
        scored = activation_files(self.folder / "scores") if self.folder else ()
        return tuple(dict.fromkeys([*scored, *self.paths, *self.detections]))


def find_run(path: Path) -> RunSource:
    """Detections that a path means: a folder of `avloc localize`, a run or an `avloc run` folder beside one, a file.

    Raises:
        InputError: there are none. FormatError: they cannot be read.
    """
    if path.is_file():
        options = _options(path.parent) if path.stem == "segments" else {}
        return RunSource(path.stem, path, None, read_detections(path), options=options)
    for folder in (path, path / "detections", path.parent / "detections"):
        for name in ("segments.json", "segments.csv"):
            if path.is_dir() and (folder / name).is_file():
                table = folder / name
                # "2-stages/detections" is called 2-stages, "detections" in the working folder detections
                label = folder.resolve().parent.name if folder.name == "detections" else folder.name
                known = _noted_paths(folder)
                return RunSource(label or path.name, table, folder, read_detections(table), known, _options(folder))
    raise InputError(
        f"{path}: expected detections (segments.json or segments.csv), there are none there or beside it; "
        "make some with `avloc localize RUN VIDEOS -o DETECTIONS`"
    )


def _noted_paths(folder: Path) -> dict[str, Path]:
    """Files that the run noted in videos.csv and that are still there."""
    table = folder / "videos.csv"
    if not table.is_file():
        return {}
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = [(row.get("video") or "", row.get("path") or "") for row in csv.DictReader(file)]
        return {video: Path(path) for video, path in rows if path and Path(path).is_file()}
    except (csv.Error, ValueError, OSError) as error:
        raise FormatError(f"{table}: expected the table that `avloc localize` writes ({error})") from error


def _options(folder: Path) -> dict[str, object]:
    card = folder / "run.yaml"
    if not card.is_file():
        return {}
    try:
        content = yaml.safe_load(card.read_text(encoding="utf-8"))
        options = dict(content["config"]["localize"])
        values = [
            part for value in options.values() for part in (value.values() if isinstance(value, dict) else [value])
        ]
        if not all(value is None or isinstance(value, str | int | float) for value in values):
            raise ValueError("localize holds more than single values")
        return options
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"{card}: expected the configuration that `avloc localize` writes ({error})") from error


def segments_file(folder: Path) -> Path:
    """The file itself, or the table in a folder that `avloc localize` wrote. Raises InputError: there is none."""
    if not folder.exists():
        raise InputError(f"{folder}: expected detections, a file or a folder; there is nothing of that name")
    if not folder.is_dir():
        return folder
    for name in ("segments.json", "segments.csv"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: expected segments.json or segments.csv in it, as `avloc localize` writes them")


def read_activations(folder: Path, chosen: set[str]) -> list[ActivationSequence]:
    """Activations of the chosen videos, from the scores/ of a folder that `avloc localize` wrote."""
    return [load_activations(path) for video, path in activation_files(folder).items() if video in chosen]


def videos_beside(path: Path | str, video_ids: Iterable[str] | None = None) -> tuple[str, ...]:
    """The videos that were localized for a table, also in vain: those of the videos.csv and failures.csv beside it.

    None of them when there is no videos.csv. `video_ids` as in `read_detections`.

    Raises:
        FormatError: a table without a column `video`.
    """
    folder = Path(path).parent
    if not (folder / "videos.csv").is_file():
        return ()
    names: list[str] = []
    for table in (folder / "videos.csv", folder / "failures.csv"):
        if not table.is_file():
            continue
        try:
            with table.open(encoding="utf-8", newline="") as file:
                names += [row["video"] for row in csv.DictReader(file)]
        except (csv.Error, ValueError, KeyError, OSError) as error:
            raise FormatError(f"{table}: expected the table that `avloc localize` writes ({error})") from error
    return tuple(dict.fromkeys(_renaming(path, names, video_ids).values()))


@dataclass(frozen=True)
class Localized:
    """What is kept of each of many videos; their activations, which would fill the memory, lie in scores/."""

    detections: tuple[Detection, ...]
    duration_s: float
    modalities: tuple[str, ...]
    path: Path | None

    def likely(self, least: float) -> tuple[Detection, ...]:
        """Its detections that score at least so much."""
        return tuple(d for d in self.detections if d.score >= least)


def _drop_scores_of_others(scores: Path, found: Mapping[str, Localized]) -> None:
    """Scores of videos that an earlier localization wrote here, and that this one knows nothing of."""
    for video, path in activation_files(scores).items():
        if video not in found:
            path.unlink()


def _videos_table(found: Mapping[str, Localized], files: Mapping[str, Path | None], least: float) -> str:
    rows: list[Sequence[object]] = [["video", "duration_s", "labels", "detections", "modalities", "path"]]
    for name, result in found.items():
        labels = ";".join(dict.fromkeys(d.label for d in result.likely(least)))
        path = files[name]
        row = [name, f"{result.duration_s:.3f}", labels, len(result.detections), "+".join(result.modalities)]
        rows.append([*row, readable(path.resolve()) if path is not None else ""])
    return csv_text(rows)
