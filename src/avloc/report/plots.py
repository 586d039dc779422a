"""`avloc plot`: all figures that a run, its detections and the ground truth allow, as files.

OUT/map.pdf  class_ap.pdf  confusion.pdf  training.pdf  timelines/<video>.pdf  attention/<video>_stage1.pdf
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avloc.errors import AvlocError, InputError
from avloc.evaluate.reference import Reference, missing_note, read_reference, scored_part
from avloc.evaluate.snippets import evaluate_snippets
from avloc.figures import (
    attention_figure,
    class_ap_figure,
    confusion_figure,
    figure_format,
    mean_ap_figure,
    save_figure,
    timeline,
    training_figure,
)
from avloc.figures.style import require_matplotlib
from avloc.formats.features import FeatureStore
from avloc.formats.results import RunSource
from avloc.media.previews import COLUMNS, Preview
from avloc.mediafile import BY_FLAGS
from avloc.metrics import detection_scores
from avloc.model.files import MODEL_FILE, RECORD_FILE
from avloc.pipeline.attention import correlations
from avloc.report.sources import PlotSources, probe_and_preview, video_files
from avloc.system.outputs import output_folder
from avloc.system.text import file_stems
from avloc.types import VideoAnnotation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from avloc.pipeline.localizer import Localizer


def plot_all(
    sources: PlotSources, out: Path, formats: Sequence[str] = ("pdf", "png"), limit: int = 6
) -> tuple[list[Path], list[str]]:
    """Draw all figures for which there is data.

    Args:
        formats: from `avloc.figures.FIGURE_FORMATS`; pdf and svg are vector graphics.
        limit: maximum number of videos with a timeline and Λ; those with most instances first, then most detections.

    Returns:
        The files, and a note for each figure that could not be drawn.

    Raises:
        InputError: there are no detections, or a format is unknown.
    """
    require_matplotlib()
    for name in formats:
        figure_format(name)
    runs = sources.results()
    reference = read_reference(sources.truth, table=False) if sources.truth is not None else None
    truth = reference.by_video if reference is not None else {}
    shown = _shown(runs[0], truth, limit)
    home = sources.trained_run(RECORD_FILE)
    figures = _Figures(out, formats)
    _plot_scores(figures, runs, reference, sources.truth)
    if home is not None:
        figures.draw("training", lambda: _training(home))
    for video, stem in file_stems(shown).items():
        figures.draw(f"timelines/{stem}", partial(_timeline, runs, truth, video))
    _plot_attention(figures, sources, home, runs[0], shown)
    return figures.written, figures.notes


class _Figures:
    """Writes figures to a folder, with a note for each that cannot be drawn."""

    def __init__(self, out: Path, formats: Sequence[str]) -> None:
        self.out, self.formats = out, formats
        self.written: list[Path] = []
        self.notes: list[str] = []

    def draw(self, name: str, make: Callable[[], Figure]) -> None:
        try:
            figure = make()
        except AvlocError as error:
            self.notes.append(f"{name}: {error}")
            return
        with output_folder(self.out):
            self.written.extend(save_figure(figure, self.out / f"{name}.{suffix}") for suffix in self.formats)


def _shown(run: RunSource, truth: Mapping[str, VideoAnnotation], limit: int) -> list[str]:
    def size(video: str) -> tuple[int, int]:
        return (len(truth[video].instances) if video in truth else 0, len(run.detections.get(video, ())))

    return sorted(run.videos(), key=size, reverse=True)[:limit]


def _plot_scores(figures: _Figures, runs: Sequence[RunSource], reference: Reference | None, path: Path | None) -> None:
    """mAP, AP per class and confusion, over the videos that `evaluate_files` scores for the first run."""
    if reference is None or path is None:
        figures.notes.append("map, class_ap, confusion: no ground truth; give --ground-truth")
        return
    part, choice = scored_part(reference, path, None, runs[0].videos())
    figures.notes += [
        f"map, class_ap, confusion: {note}" for note in (choice, missing_note(part, runs[0].videos())) if note
    ]
    known = part.annotations
    scores = {
        run.name: detection_scores({a.video_id: run.detections.get(a.video_id, ()) for a in known}, known)
        for run in runs
    }
    figures.draw("map", lambda: mean_ap_figure(scores))
    figures.draw("class_ap", lambda: class_ap_figure(scores))
    figures.draw("confusion", lambda: _confusion(runs[0], known))


def _confusion(run: RunSource, known: Sequence[VideoAnnotation]) -> Figure:
    found = [a for v in known if (a := run.activations(v.video_id)) is not None]
    result = evaluate_snippets(found, known)
    if result is None:
        raise InputError("there are no activations beside the detections")
    return confusion_figure(result.snippets.confusion, result.snippets.classes)


def _training(home: Path) -> Figure:
    from avloc.train.record import read_record

    return training_figure(read_record(home).history)


def _timeline(runs: Sequence[RunSource], truth: Mapping[str, VideoAnnotation], video: str) -> Figure:
    activations = {run.name: a for run in runs if (a := run.activations(video)) is not None}
    if not activations:
        raise InputError("there are no activations beside the detections")
    found = {run.name: run.detections.get(video, ()) for run in runs}
    lowest = {run.name: run.likely_from for run in runs}
    instances = truth[video].instances if video in truth else None
    if len(activations) == 1:
        (name,) = activations
        return timeline(activations[name], found[name], instances, lowest=lowest[name])
    return timeline(activations, found, instances, lowest=lowest)


def _plot_attention(
    figures: _Figures, sources: PlotSources, home: Path | None, run: RunSource, shown: Sequence[str]
) -> None:
    """Λ of every stage, for the shown videos."""
    folder = sources.features_of(home) if home is not None else None
    if home is None or folder is None or not (home / MODEL_FILE).is_file():
        figures.notes.append("attention: needs a trained run and its features; give --run and --features")
        return
    from avloc.pipeline.localizer import load

    localizer, store = load(home), FeatureStore(folder)
    stages = localizer.card.config.model.num_stages
    if localizer.card.config.model.modality != "audio-visual" or not stages:
        figures.notes.append("attention: the model has no cross-attention stage")
        return
    files = video_files(sources.videos, run)
    for video, stem in file_stems(shown).items():
        _, preview = probe_and_preview(files.get(video), run.streams.get(video, BY_FLAGS))
        for stage in range(1, stages + 1):
            figures.draw(f"attention/{stem}_stage{stage}", partial(_attention, localizer, store, video, stage, preview))


def _attention(localizer: Localizer, store: FeatureStore, video: str, stage: int, preview: Preview) -> Figure:
    features = store.load(video)
    matrix = correlations(localizer, features)[stage - 1]
    title = f"{features.video_id}, stage {stage}"
    return attention_figure(matrix, features.duration_s, _thumbnails(preview), preview.waveform, title)


def _thumbnails(preview: Preview, count: int = 12) -> list[np.ndarray]:
    if preview.sheet is None:
        return []
    import io

    from PIL import Image

    sheet = preview.sheet
    image = np.array(Image.open(io.BytesIO(sheet.jpeg)).convert("RGB"))
    chosen = np.linspace(0, sheet.count - 1, min(count, sheet.count)).round().astype(int)
    thumbnails = []
    for k in chosen:
        top, left = k // COLUMNS * sheet.height, k % COLUMNS * sheet.width
        thumbnails.append(image[top : top + sheet.height, left : left + sheet.width])
    return thumbnails
