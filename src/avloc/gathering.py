"""What a person means by a run: its detections, activations, settings and videos, wherever they lie."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from avloc.errors import AvlocError, FormatError, InputError
from avloc.formats import FeatureStore, read_detections
from avloc.formats.activations import activation_files, load_activations
from avloc.localize import likely_from
from avloc.report.views import RunView
from avloc.system.atomic import inside
from avloc.types import ActivationSequence, Detection

__all__ = ["Modalities", "RunSource", "find_run", "video_files"]


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
        if not all(value is None or isinstance(value, str | int | float) for value in options.values()):
            raise ValueError("localize holds more than single values")
        return options
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"{card}: expected the configuration that `avloc localize` writes ({error})") from error


def video_files(folder: Path | None, run: RunSource) -> dict[str, Path]:
    """{video_id: file} in a folder; without one, in a folder `videos` near the detections, if there is any.

    Raises:
        InputError: the folder is not there or holds no video.
    """
    from avloc.media.find import named_media

    if folder is not None:
        return named_media(folder)
    home = (run.folder or run.table).resolve()
    for near in (home.parent / "videos", home.parent.parent / "videos"):
        if near.is_dir():
            with contextlib.suppress(InputError):  # nobody asked for this folder; if it is of no use, there is none
                return named_media(near)
    return {}


class Modalities:
    """Adds what one modality alone says: from uni-modal runs, or by hiding the other from an audio-visual one."""

    def __init__(
        self, detections: Path, audio: Path | None, visual: Path | None, run: Path | None, features: Path | None
    ) -> None:
        self.runs = {name: find_run(path) for name, path in (("audio", audio), ("visual", visual)) if path is not None}
        self.features: FeatureStore | None = None
        places = (detections, detections / "run", detections.resolve().parent / "run")
        run = run or next((p for p in places if (p / "model.safetensors").is_file()), None)
        if self.runs or run is None:
            return
        near = (run.resolve().parent / "features", run.resolve().parent.parent / "features")
        folder = features or next((f for f in near if f.is_dir()), None)
        if folder is not None:
            from avloc.pipeline.localizer import load

            self.features, self.localizer = FeatureStore(folder), load(run)

    def add(self, view: RunView) -> RunView:
        if view.activations is None:
            return view
        video_id = view.activations.video_id
        if self.runs:
            found = {name: run.activations(video_id) for name, run in self.runs.items()}
            return replace(view, audio_only=found.get("audio"), visual_only=found.get("visual"))
        if self.features is None or self.localizer.card.config.model.modality != "audio-visual":
            return view
        try:
            features = self.features.load(video_id)
        except AvlocError:
            return view
        if features.audio is None or features.visual is None:
            return view
        audio = self.localizer.activations(replace(features, visual=None))
        visual = self.localizer.activations(replace(features, audio=None))
        return replace(view, audio_only=audio, visual_only=visual)
