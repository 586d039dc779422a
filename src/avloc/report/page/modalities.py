"""What each modality alone says, for the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.errors import AvlocError
from avloc.formats.features import FeatureStore
from avloc.formats.results import find_run
from avloc.report.page.views import RunView

if TYPE_CHECKING:
    pass

__all__ = ["Modalities"]


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
