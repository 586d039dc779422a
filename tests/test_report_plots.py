"""Figures: content, reproducible vector files, notes on missing data."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from avloc.errors import InputError
from avloc.figures import (
    FIGURE_FORMATS,
    attention_figure,
    class_ap_figure,
    confusion_figure,
    mean_ap_figure,
    save_figure,
    timeline,
    training_figure,
)
from avloc.report.plots import plot_all
from avloc.report.sources import PlotSources
from avloc.types import ActivationSequence, Detection, DetectionScores, Instance, SnippetGrid
from page_data import CLASSES, NASTY_LABEL, activations, make_world

SCORES = DetectionScores(np.array([0.5, 0.75]), ("a", "b"), np.array([[0.5, 0.3], [0.2, 0.0]]))


def test_map_is_in_percent_and_the_average_is_written():
    axes = mean_ap_figure({"ours": SCORES}).axes[0]
    assert np.allclose(axes.lines[0].get_ydata(), [40, 10])
    assert axes.get_legend().get_texts()[0].get_text() == "ours (25.0)"


def test_classes_by_their_average_precision():
    axes = class_ap_figure({"ours": SCORES, "other": SCORES}).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["b", "a"]
    assert [round(bar.get_width(), 3) for bar in axes.patches][:2] == [15.0, 35.0]


def test_training_has_losses_and_validation():
    history = [{"step": s, "loss/mil": 1 / s, "validation/video_ap": 0.1 * s} for s in (1, 2, 3)]
    figure = training_figure(history)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "validation"]
    assert len(training_figure([{"step": 1, "loss/mil": 1.0}]).axes) == 1
    with pytest.raises(InputError, match="empty"):
        training_figure([])


def test_confusion_is_in_percent_of_the_row():
    confusion = np.array([[3, 1], [0, 0]])
    image = confusion_figure(confusion, ["a"]).axes[0].images[0].get_array()
    assert np.allclose(image, [[75, 25], [0, 0]])


def test_attention_has_seconds_on_both_axes():
    thumbs = [np.zeros((4, 6, 3), np.uint8)] * 3
    figure = attention_figure(np.eye(5), 10.0, thumbs, np.full(20, 100, np.uint8))
    assert figure.axes[0].get_xlim() == (0.0, 10.0)
    assert figure.axes[0].get_ylim() == (10.0, 0.0)
    with pytest.raises(InputError, match="empty"):
        attention_figure(np.zeros((0, 0)), 1.0)


def test_timeline_keeps_overlapping_classes_apart(tmp_path):
    a = activations("v")
    found = [Detection(1, 5, "bark", 0.9), Detection(2, 6, NASTY_LABEL, 0.4), Detection(7, 8, "bark", 0.2)]
    figure = timeline(a, found, [Instance(1, 5, "bark")], tmp_path / "t.png")
    row = figure.axes[1]
    assert {round(bar.get_y() + bar.get_height() / 2) for bar in row.patches} == {0, 1}
    assert (tmp_path / "t.png").stat().st_size > 1000
    with pytest.raises(InputError, match=r"written as '.what'; use pdf, svg"):
        timeline(a, found, None, tmp_path / "t.what")


def test_figures_are_written_in_every_format_that_is_offered(tmp_path):
    figure = mean_ap_figure({"ours": SCORES})
    for name in FIGURE_FORMATS:
        assert save_figure(figure, tmp_path / f"f.{name.upper()}").stat().st_size > 1000
    save_figure(figure, tmp_path / "bare")
    assert (tmp_path / "bare").read_bytes()[1:4] == b"PNG"


def test_guesses_are_not_drawn_over_what_was_found():
    a = activations("v")
    found = [Detection(1, 5, "bark", 0.8), Detection(2, 6, NASTY_LABEL, 0.3), Detection(7, 8, "bark", 0.29)]
    row = timeline(a, found, lowest=0.3).axes[0]
    assert {round(bar.get_x()) for bar in row.patches} == {1, 2}
    assert row.get_ylabel().endswith("from 0.30")
    assert "from" not in timeline(a, found[:1], lowest=0.3).axes[0].get_ylabel()
    assert [text.get_text() for text in timeline(a, found, lowest=0.9).axes[0].texts] == ["none"]
    two = timeline({"x": a, "y": a}, {"x": found, "y": found}, lowest={"x": 0.3, "y": 0.5})
    assert [len(two.axes[k].patches) // 2 for k in (0, 3)] == [2, 1]


def test_overlapping_detections_of_a_class_are_stacked_and_scores_stay_in_their_bars():
    a = activations("v")
    found = [Detection(1, 5, "bark", 0.8), Detection(2, 6, "bark", 0.5), Detection(5, 5.05, "bark", 0.4)]
    row = timeline(a, found).axes[0]
    spots = [(bar.get_x(), round(bar.get_y() + bar.get_height() / 2)) for bar in row.patches[::2]]
    assert sorted(spots) == [(1, 0), (2, 1), (5, 0)]
    assert [label.get_text() for label in row.get_yticklabels()] == ["bark", "bark"]
    assert sorted(text.get_text() for text in row.texts) == ["0.50", "0.80"]  # 0.05 s is too narrow for "0.40"


def test_dollars_in_names_are_no_mathematics(tmp_path):
    odd = DetectionScores(SCORES.t_iou, ("a$", r"$\frac{$"), SCORES.ap)
    save_figure(class_ap_figure({r"$\bad$": odd, "b$$": odd}), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert r"$\frac{$" in text
    save_figure(confusion_figure(np.eye(3, dtype=int), odd.classes), tmp_path / "b.svg")


def test_vector_files_are_the_same_twice(tmp_path):
    for suffix in ("pdf", "svg"):
        one, two = (save_figure(mean_ap_figure({"m": SCORES}), tmp_path / f"{k}.{suffix}") for k in "ab")
        assert one.read_bytes() == two.read_bytes()
    assert (tmp_path / "a.pdf").read_bytes()[:5] == b"%PDF-"


def test_plot_all_draws_what_there_is_and_says_what_not(tmp_path):
    make_world(tmp_path, count=2)
    truth = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))
    truth["database"]["dog"]["annotations"].append({"label": "bark", "segment": [10, 11]})
    (tmp_path / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    sources = PlotSources(tmp_path / "ours", tmp_path / "truth.json", compare=(tmp_path / "other",))
    written, notes = plot_all(sources, tmp_path / "figures", ("pdf",), limit=1)
    names = {path.relative_to(tmp_path / "figures").as_posix() for path in written}
    assert {"map.pdf", "class_ap.pdf", "confusion.pdf"} < names
    assert [n for n in names if n.startswith("timelines/")] == ["timelines/dog.pdf"]  # has the most instances
    assert any(note.startswith("attention") for note in notes)
    _, bare = plot_all(PlotSources(tmp_path / "ours"), tmp_path / "bare", ("png",), limit=0)
    assert any("give --ground-truth" in note for note in bare)


def test_correlations_are_those_the_model_computes(tmp_path):
    """Λ of every stage, against the softmax that the model's `attention` computes from it."""
    import torch

    from avloc.config import preset
    from avloc.model import fusion
    from avloc.model import network as model
    from avloc.model.checkpoint import ModelCard
    from avloc.pipeline.attention import correlations
    from avloc.pipeline.localizer import Localizer
    from avloc.types import FeatureSequence

    torch.manual_seed(0)
    config = preset("paper", {"model.embed_dim": 8, "model.num_stages": 3})
    net = model.AudioVisualLocalizer(5, 6, 3, config.model)
    card = ModelCard(config=config, classes=CLASSES, audio_size=5, visual_size=6, backbones={}, step=1)
    rng = np.random.default_rng(0)
    grid = SnippetGrid.cover(7, Fraction(1))
    features = FeatureSequence("v", 7.0, grid, rng.normal(size=(7, 6)), rng.normal(size=(7, 5)))
    seen = []
    real = fusion.attention

    def spy(*inputs):
        seen.append(real(*inputs))
        return seen[-1]

    fusion.attention = spy
    try:
        result = Localizer(net, card).activations(features)
    finally:
        fusion.attention = real
    found = correlations(Localizer(net, card), features)
    assert isinstance(result, ActivationSequence)
    assert len(found) == len(seen) == 3
    for matrix, weights in zip(found, seen, strict=True):
        expected = torch.softmax(torch.tensor(matrix), dim=0).numpy()
        assert np.allclose(expected, weights.audio[0].detach().numpy(), atol=1e-5)
