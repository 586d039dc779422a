"""The models and videos of the paper's Figures 2-5. The models are cells of the tables.

Figure 2   O-0 against O-III (Table 10): the videos with background that have most instances
Figure 3   visual against 2-stage (Table 1): the video that audio helps most, preferably with several instances
Figure 4   the same for the four videos that audio helps most
Figure 5   the two videos that audio harms most
Audio helps a video by the gain in `coverage`: t-IoU of detections and ground truth of the video's class, in snippets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avloc.errors import AvlocError, InputError, did_you_mean
from avloc.figures import figure_format
from avloc.figures.style import require_matplotlib
from avloc.formats.features import FeatureStore
from avloc.localize import localize
from avloc.paper.cells import DataSet
from avloc.paper.drawing import Panel, activation_figure, comparison_figure
from avloc.paper.rows import ROWS
from avloc.paper.runner import cell_of, compute_all
from avloc.pipeline.localizer import load
from avloc.system.outputs import output_folder
from avloc.types import Progress, SnippetGrid

_MODELS = {
    "visual-only": ROWS["table1"]["visual"],
    "audio-visual": ROWS["table1"]["2-stage"],
    "without the consistency losses": ROWS["table10"]["O-0"],
    "with them": ROWS["table10"]["O-III"],
}
FIGURES = {
    "figure2": ("without the consistency losses", "with them"),
    "figure3": ("visual-only", "audio-visual"),
    "figure4": ("visual-only", "audio-visual"),
    "figure5": ("visual-only", "audio-visual"),
}
"""{figure: the models it compares}."""


def draw_figures(
    names: Sequence[str],
    data: DataSet,
    out: Path,
    overrides: Mapping[str, Any],
    seed: int = 0,
    formats: Sequence[str] = ("pdf", "png"),
    progress: Progress | None = None,
    recipe: str = "paper",
) -> tuple[list[Path], list[str]]:
    """Train the missing models and draw the figures.

    Args:
        names: in FIGURES; all if empty.
        out: output folder of the tables; runs are shared with `avloc tables`.
        recipe: of `presets.RECIPES`.

    Returns:
        Files written, and a note for each figure without a video to show.

    Raises:
        InputError: no such figure, no matplotlib, or a model could not be trained. ConfigError: an invalid override.
    """
    require_matplotlib()
    for suffix in formats:
        figure_format(suffix)
    for name in names:
        if name not in FIGURES:
            raise InputError(f"there is no {name!r}.{did_you_mean(name, FIGURES)}")
    wanted = [name for name in FIGURES if name in names or not names]
    models = dict.fromkeys(model for name in wanted for model in FIGURES[name])
    cells = {model: cell_of(_MODELS[model], data, seed, overrides, out, recipe) for model in models}
    failed = compute_all(list(cells.values()), progress=progress)
    if failed:
        raise InputError(f"a model could not be trained: {next(iter(failed.values()))}")
    found = {model: _panels(model, cell.run, data) for model, cell in cells.items()}
    written: list[Path] = []
    notes: list[str] = []
    for name in wanted:
        try:
            figures = [out / "figures" / f"{name}.{suffix}" for suffix in formats]
            with output_folder(out):
                for path in figures:
                    _draw(name, [found[model] for model in FIGURES[name]], path)
            written += figures
        except AvlocError as error:
            notes.append(f"{name}: {error}")
    return written, notes


_Found = dict[str, Panel]


def _panels(model: str, run: Path, data: DataSet) -> _Found:
    """{video_id: panel of its first class}, for test videos with instances."""
    localizer, store = load(run), FeatureStore(data.features)
    needed = localizer.card.config.model.modality
    panels = {}
    for truth in data.tests():
        label = next((i.label for i in truth.instances if i.label in localizer.classes), None)
        if label is None or truth.video_id not in store:
            continue
        features = store.load(truth.video_id)
        if needed != "audio-visual" and needed not in features.modalities:
            continue
        activations = localizer.activations(features)
        found = {model: localize(activations, localizer.options)}
        panels[truth.video_id] = Panel(label, truth.instances, {model: activations}, found)
    return panels


def coverage(panel: Panel) -> float:
    """t-IoU of all detections and all ground truth of the panel's class, in snippets."""
    (model,) = panel.models
    grid = panel.models[model].grid
    true, claimed = (_inside(grid, [s for s in segments if s.label == panel.label])
                     for segments in (panel.truth, panel.detections[model]))  # fmt: skip
    union = (true | claimed).sum()
    return float((true & claimed).sum() / union) if union else 0.0


def _inside(grid: SnippetGrid, segments: Sequence[Any]) -> np.ndarray:
    inside = np.zeros(grid.count, dtype=bool)
    for segment in segments:
        inside[grid.indices(segment.start_s, segment.end_s)] = True
    return inside


def _draw(name: str, found: Sequence[_Found], path: Path) -> None:
    first, second = found
    both = [video for video in first if video in second]
    gain = {video: coverage(second[video]) - coverage(first[video]) for video in both}
    background = {video: _has_background(first[video]) for video in both}
    several = {video: _times(first[video]) for video in both}
    if name == "figure2":
        chosen = sorted(both, key=lambda v: (-background[v], -several[v], v))[:2]
        activation_figure([_joined(first[v], second[v]) for v in chosen], path)
        return
    better = sorted((v for v in both if gain[v] > 0), key=lambda v: -gain[v])
    worse = sorted((v for v in both if gain[v] < 0), key=lambda v: gain[v])
    one = sorted(better, key=lambda v: (several[v] < 2, -gain[v]))[:1]
    chosen = {"figure3": one, "figure4": better[:4], "figure5": worse[:2]}[name]
    comparison_figure([_joined(first[v], second[v]) for v in chosen], name == "figure3", path)


def _has_background(panel: Panel) -> bool:
    return sum(i.end_s - i.start_s for i in panel.truth) < 0.9 * panel.first.duration_s


def _times(panel: Panel) -> int:
    return sum(i.label == panel.label for i in panel.truth)


def _joined(a: Panel, b: Panel) -> Panel:
    return Panel(a.label, a.truth, {**a.models, **b.models}, {**a.detections, **b.detections})
