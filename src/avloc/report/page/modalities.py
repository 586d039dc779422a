"""Predictions from single modalities, for the page."""

from __future__ import annotations

from dataclasses import replace

from avloc.errors import AvlocError, InputError
from avloc.formats.features import FeatureStore
from avloc.formats.results import find_results
from avloc.model.files import MODEL_FILE
from avloc.report.page.views import RunView
from avloc.report.sources import PageSources


class Modalities:
    """Adds activations from single modalities: of unimodal runs, or of an audio-visual run with one modality masked."""

    def __init__(self, sources: PageSources) -> None:
        given = {"audio": sources.audio, "visual": sources.visual}
        self.runs = {name: find_results(path).read() for name, path in given.items() if path is not None}
        self.features: FeatureStore | None = None
        run = sources.trained_run(MODEL_FILE)
        if self.runs or run is None:
            return
        folder = sources.features_of(run)
        if folder is None and sources.run is not None:
            raise InputError(f"{run}: expected a folder of features beside it; give --features FOLDER")
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
