"""Figures 2-5 of the paper: class activations and detections, one video per panel, in rows.

Figure 2   (a) ground truth, (b) activations without L_cont and L_pseu, (c) with them
Figure 3   (a) ground truth, (b)-(c) detections and activations of the visual-only model, (d)-(e) of the audio-visual
Figure 4   Figure 3's rows without letters, for videos that audio helps; Figure 5: for videos that it harms
Colours as in the paper: ground truth green, visual-only orange, audio-visual blue; darker activations are stronger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.errors import InputError
from avloc.figures.style import INK, literal, make_figure, save_figure
from avloc.types import ActivationSequence, Detection, Instance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


TRUTH, VISUAL, AUDIO_VISUAL = "#2f6f4f", "#b5541c", "#1f5fa8"


@dataclass(frozen=True)
class Panel:
    """One class of one video.

    Args:
        label: the class.
        truth: instances of all classes; only those of `label` are drawn.
        models: {model: activations}, in the order of the rows.
        detections: {model: detections}; only those of `label` are drawn.
    """

    label: str
    truth: Sequence[Instance]
    models: Mapping[str, ActivationSequence]
    detections: Mapping[str, Sequence[Detection]]

    @property
    def first(self) -> ActivationSequence:
        return next(iter(self.models.values()))


def activation_figure(panels: Sequence[Panel], path: str | Path | None = None) -> Figure:
    """Figure 2: ground truth, and each model's activations p(c).

    Raises:
        InputError: no panel, matplotlib is not installed, or `path` cannot be written.
    """
    rows = [("ground truth", None, "")] + [(name, name, "activations") for name in _names(panels)]
    return _draw(panels, rows, True, path)


def comparison_figure(panels: Sequence[Panel], letters: bool = True, path: str | Path | None = None) -> Figure:
    """Figures 3 (one panel), 4 and 5 (several): ground truth, then each model's detections and activations.

    Raises:
        InputError: no panel, matplotlib is not installed, or `path` cannot be written.
    """
    rows: list[tuple[str, str | None, str]] = [("ground truth", None, "")]
    for name in _names(panels):
        rows += [(name, name, "detections"), ("", name, "activations")]
    return _draw(panels, rows, letters, path)


def _names(panels: Sequence[Panel]) -> list[str]:
    if not panels:
        raise InputError("no video to draw: no video of both the models and the ground truth fits the figure")
    return list(panels[0].models)


def _draw(
    panels: Sequence[Panel], rows: Sequence[tuple[str, str | None, str]], letters: bool, path: str | Path | None
) -> Figure:
    names = _names(panels)
    colours = {name: (VISUAL, AUDIO_VISUAL)[k % 2] if len(names) > 1 else AUDIO_VISUAL for k, name in enumerate(names)}
    figure = make_figure(8, len(panels) * (0.55 + 0.3 * len(rows)))
    groups = figure.subfigures(len(panels), 1, squeeze=False)[:, 0]
    for k, (panel, group) in enumerate(zip(panels, groups, strict=True)):
        axes = group.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
        for row, (text, model, what) in enumerate(rows):
            _row(axes[row], panel, model, what, colours)
            shown = f"({'abcdefghij'[row]}) {text}" if letters else text
            axes[row].set_ylabel(literal(shown), rotation=0, ha="right", va="center", fontsize=7, color=INK)
        axes[-1].set_xlim(0, panel.first.duration_s)
        axes[-1].tick_params(labelsize=7, length=2)
        axes[-1].set_xlabel("seconds", fontsize=7)
        which = f"({'abcdefghij'[k]}) " if len(panels) > 1 and not letters else ""
        group.suptitle(literal(f"{which}{panel.label}  ({panel.first.video_id})"), fontsize=8, x=0.02, ha="left")
    if path is not None:
        save_figure(figure, path)
    return figure


def _row(axes: Axes, panel: Panel, model: str | None, what: str, colours: Mapping[str, str]) -> None:
    axes.set_yticks([])
    axes.set_ylim(0, 1)
    axes.tick_params(axis="x", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    if model is None:
        _bars(axes, [i for i in panel.truth if i.label == panel.label], TRUTH)
    elif what == "detections":
        _bars(axes, [d for d in panel.detections.get(model, ()) if d.label == panel.label], colours[model])
    else:
        activations = panel.models[model]
        column = 1 + activations.classes.index(panel.label)
        ends = [float(activations.grid.edge_s(i)) for i in range(activations.grid.count)] + [activations.duration_s]
        strip = activations.probs[:, [column]].T
        axes.pcolormesh(ends, [0, 1], strip, cmap="Greys", vmin=0, vmax=1, rasterized=True)


def _bars(axes: Axes, segments: Sequence[Instance | Detection], colour: str) -> None:
    spans = [(s.start_s, s.end_s - s.start_s) for s in segments]
    axes.broken_barh(spans, (0.1, 0.8), facecolors=colour, linewidth=0)
