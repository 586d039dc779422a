"""Every setting of model, loss and localization changes what it names; and what must not depend on training mode."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from avloc.config import LocalizeConfig, RunConfig, preset
from avloc.localize import kept_classes, localize, video_scores
from avloc.model import losses
from avloc.model.batch import AUDIO, VISUAL, Batch, collate
from avloc.model.checkpoint import ModelCard, load_model, save_model
from avloc.model.network import AudioVisualLocalizer, InputNorm
from avloc.train.frozen import take_stages
from avloc.train.step import prior_weight, term_weights
from avloc.types import ActivationSequence, SnippetGrid
from feature_sets import make_videos

SIZES, CLASSES = (6, 8), ("bark", "drum", "saw")


def card_of(changes: dict[str, Any], base: str = "default") -> ModelCard:
    return ModelCard(preset(base, {"model.embed_dim": 5, **changes}), CLASSES, *SIZES, {})


def network(changes: dict[str, Any], seed: int = 0) -> AudioVisualLocalizer:
    torch.manual_seed(seed)
    model = card_of(changes).build()
    assert isinstance(model, AudioVisualLocalizer)
    rng = np.random.default_rng(3)
    for name, size in zip(("audio", "visual"), SIZES, strict=True):
        norm = dict(model.norms.items()).get(name)
        if isinstance(norm, InputNorm):
            norm.fit(*(torch.from_numpy(rng.random(size, dtype=np.float32) + 0.5) for _ in range(2)))
    return model


def batch_of(videos: int = 4, present: tuple[bool, bool] = (True, True)) -> Batch:
    made = [(video, np.arange(video.grid.count)) for video, _ in make_videos(videos, CLASSES, sizes=SIZES)]
    labels = np.eye(3, dtype=np.float32)[np.arange(videos) % 3]
    labels[0] = (1, 1, 0)
    batch = collate(made, labels, *SIZES)
    batch.present = torch.tensor([present] * videos)
    return batch


MODEL: dict[str, tuple[dict[str, Any], Any]] = {
    "modality": ({}, "visual"),
    "num_stages": ({}, 1),
    "embed_dim": ({}, 7),
    "audio_embed_dim": ({}, 7),
    "visual_embed_dim": ({}, 7),
    "skip": ({}, "plain"),
    "share_weight": ({}, True),
    "head": ({}, "soft-max"),
    "direct": ({}, False),
    "leaky_slope": ({}, 0.4),
    "correlation_scale": ({}, 1.0),
    "audio_normalize": ({}, "none"),
    "visual_normalize": ({"model.visual_normalize": "l2"}, "standard"),
    "dropout": ({"model.modality_dropout": 0.0}, 0.9),
    "modality_dropout": ({"model.dropout": 0.0}, 0.9),
}
"""{field: (base, another value)} of what the paper's network reads."""


@pytest.mark.parametrize("field", MODEL)
def test_every_model_setting_acts_in_training_and_dropout_nowhere_else(field: str) -> None:
    """A network of the same seed and videos computes something else, or has other weights."""
    base, other = MODEL[field]
    batch = batch_of()

    def computed(changes: dict[str, Any], training: bool) -> tuple[list[tuple[int, ...]], Tensor]:
        model = network(changes).train(training)
        torch.manual_seed(1)
        return [tuple(weight.shape) for weight in model.parameters()], model(batch).probs

    for training in (True, False):
        (shapes, probs), (others, changed) = (
            computed(changes, training) for changes in (base, {**base, f"model.{field}": other})
        )
        only_training = "dropout" in field and not training
        assert (shapes == others and torch.equal(probs, changed)) == only_training


def test_model_settings_that_are_not_above_are_of_other_methods() -> None:
    assert set(type(preset().model).model_fields) - set(MODEL) == {"method", "grid_cells"}


def test_each_modality_has_its_own_settings() -> None:
    changes = {"model.audio_embed_dim": 3, "model.visual_embed_dim": 4}
    changes |= {"model.audio_normalize": "none", "model.visual_normalize": "l2"}
    model = network(changes)
    assert {name: (layer.in_features, layer.out_features) for name, layer in model.embeds.items()} == {
        "audio": (6, 3),
        "visual": (8, 4),
    }
    assert (model.norms["audio"].mode, model.norms["visual"].mode) == ("none", "l2")


def test_embeddings_are_leaky_relus_of_an_affine_map() -> None:
    """§3.1, Appendix C; 0 where a modality is missing."""
    model, batch = network({"model.leaky_slope": 0.3, "model.audio_normalize": "none"}).eval(), batch_of()
    batch.present[1] = torch.tensor([False, True])
    audio, _ = model.embed_both(batch, batch.present)
    W, b = (parameter.detach().numpy() for parameter in model.embeds["audio"].parameters())
    h = batch.audio[0, 3].numpy() @ W.T + b
    np.testing.assert_allclose(audio[0, 3].detach(), np.where(h > 0, h, 0.3 * h), rtol=1e-4, atol=1e-6)
    assert not audio[1].any()


def test_input_scaling_is_by_the_given_statistics() -> None:
    mean, deviation = torch.tensor([1.0, -2.0, 5.0]), torch.tensor([2.0, 4.0, 0.0])
    rows = torch.tensor([[3.0, 2.0, 6.0]])
    expected = {"standard": [1.0, 1.0, 1.0], "none": [3.0, 2.0, 6.0], "l2": [3 / 7, 2 / 7, 6 / 7]}
    spread = (20 / 3) ** 0.5  # of all channels
    expected["scale"] = [2 / spread, 4 / spread, 1 / spread]
    for mode, want in expected.items():
        norm = InputNorm(3, mode)  # type: ignore[arg-type]
        norm.fit(mean, deviation)
        np.testing.assert_allclose(norm(rows)[0], want, rtol=1e-6)


def test_modality_dropout_hides_either_modality_of_videos_that_have_both() -> None:
    model, hidden = network({"model.modality_dropout": 0.3}), torch.ones(20_000, 2, dtype=torch.bool)
    torch.manual_seed(0)
    left = model._hidden(hidden).float()
    assert left.any(dim=1).all()
    for column in (AUDIO, VISUAL):
        assert float(1 - left[:, column].mean()) == pytest.approx(0.15, abs=0.01)
        alone = hidden.clone()
        alone[:, column] = False
        assert torch.equal(model._hidden(alone), alone)


def test_a_loaded_network_is_deterministic(tmp_path: Path) -> None:
    """At test time no modality is hidden and nothing is dropped."""
    card = card_of({"model.modality_dropout": 0.9, "model.dropout": 0.9})
    save_model(tmp_path / "model.safetensors", card, card.build().state_dict())
    loaded, batch = load_model(tmp_path)[0], batch_of()
    first = loaded(batch).probs
    assert all(torch.equal(first, loaded(batch).probs) for _ in range(3))
    plain = card_of({"model.modality_dropout": 0.0, "model.dropout": 0.0}).build()
    plain.load_state_dict(loaded.state_dict())
    assert torch.equal(first, plain(batch).probs)  # in training mode


def test_which_videos_a_network_can_use() -> None:
    present = torch.tensor([[True, True], [True, False], [False, True]])
    usable = {kind: network({"model.modality": kind}).usable(present).tolist() for kind in ("audio", "visual")}
    assert usable == {"audio": [True, True, False], "visual": [True, False, True]}
    assert network({}).usable(present).tolist() == [True, True, True]
    made = make_videos(1, CLASSES, sizes=SIZES)[0][0]
    silent = type(made)(**{**vars(made), "audio": None})
    batch = collate([(silent, np.arange(5))], np.ones((1, 3), dtype=np.float32), *SIZES)
    assert batch.present.tolist() == [[False, True]]


def test_taken_stages_bring_their_input_statistics(tmp_path: Path) -> None:
    """Table 7: frozen stages compute what they computed in their own run, on whatever set the third is trained."""
    source = network({}, seed=5)
    save_model(tmp_path / "model.safetensors", card_of({}), source.state_dict())
    card = card_of({"model.num_stages": 3})
    target = card.build()
    take_stages(target, card, tmp_path, 2)
    batch = batch_of()
    assert target.fusion is not None
    assert source.fusion is not None
    for model in (target.eval(), source.eval()):
        assert isinstance(model, AudioVisualLocalizer)
    stages = []
    for model in (target, source):
        assert isinstance(model, AudioVisualLocalizer)
        assert model.fusion is not None
        both = model.embed_both(batch, batch.present)
        stages.append(list(model.fusion.stages(*both, batch.mask, batch.present.all(dim=1)))[2])
    for found, expected in zip(*stages, strict=True):
        torch.testing.assert_close(found, expected)
    learning = {name for name, weight in target.named_parameters() if weight.requires_grad}
    heads = {f"{head}.{kind}" for head in ("action_head", "background_head") for kind in ("weight", "bias")}
    assert learning == {"fusion.weights.2", *heads}


LOSS: dict[str, tuple[dict[str, Any], Any]] = {
    "mil_scores": ({}, "logits"),
    "mil_background": ({}, "known"),
    "mil_background_weight": ({}, 1.0),
    "topk_divisor": ({}, 2),
    "coactivity_weight": ({}, 0.3),
    "coactivity_margin": ({}, 0.0),
    "continuity_weight": ({}, 0.3),
    "smooth_width": ({}, 8),
    "smooth_sigma": ({}, 3.0),
    "detach_smooth": ({}, True),
    "pseudo_weight": ({}, 0.3),
    "pseudo_labels": ({"loss.threshold": 0.4}, "hard"),
    "pseudo_from_labels": ({}, False),
    "neighbors": ({}, 0),
    "threshold": ({"loss.pseudo_labels": "hard", "loss.threshold": 0.0}, 0.6),
    "correction_weight": ({}, 0.3),
    "warmup": ({}, 1.0),
    "prior_weight": ({}, 0.8),
}


@pytest.mark.parametrize("field", LOSS)
def test_every_loss_setting_changes_the_gradient(field: str) -> None:
    base, other = LOSS[field]

    def gradient(changes: dict[str, Any]) -> Tensor:
        config: RunConfig = preset("default", changes)
        model, batch = network({}).eval(), batch_of()
        output = model(batch)
        truth = torch.zeros_like(output.probs)
        truth[0, :2, 1] = 1.0  # two snippets of one video are corrected
        prior = torch.nn.functional.one_hot(torch.zeros_like(batch.mask, dtype=torch.long), output.probs.shape[2])
        given = truth, prior.to(output.probs.dtype), prior_weight(config, step=100)
        terms, _ = losses.output_terms(output, batch.labels, batch.mask, config.loss, None, *given)
        pairs = losses.coactivity_descriptors(output.embedding, output.action_logits, batch.labels, batch.mask)
        terms["coactivity"] = losses.coactivity_loss(*pairs, margin=config.loss.coactivity_margin)
        total = losses.total_loss(terms, term_weights(config, step=100, corrected=True))
        return torch.cat([g.ravel() for g in torch.autograd.grad(total, list(model.parameters()))])

    assert not torch.allclose(gradient(base), gradient({**base, f"loss.{field}": other}), rtol=1e-4, atol=1e-7)
    assert set(type(preset().loss).model_fields) == set(LOSS)


def activations(seed: int = 0, length: int = 40) -> ActivationSequence:
    """Three noisy classes with a peak each; the last in the last snippets."""
    rng = np.random.default_rng(seed)
    raw = rng.random((length, 4)) * 0.2
    raw[:, 0] += 0.4
    for c, (first, stop) in enumerate(((5, 12), (18, 21), (33, length)), start=1):
        raw[first:stop, c] += 1.5 / c
    probs = raw / raw.sum(axis=1, keepdims=True)
    return ActivationSequence("v", float(length), SnippetGrid.cover(length, 1), CLASSES, probs, video_scores(probs))


ACTIONS: dict[str, Any] = {"class_gate": "none", "threshold_factor": 0.8, "score_weight": 0.1, "smooth_snippets": 5}
CONTRAST: dict[str, Any] = {
    "class_share": 0.1,
    "min_classes": 1,
    "levels": 9,
    "smooth_passes": 3,
    "outer_margin": 0.2,
    "outside_margin": 0.0,
    "full_video_margin": 0.0,
    "short_video_bonus": 30.0,
    "full_video_drop": 5.0,
    "video_weight": 0.5,
    "contrast_slope": 4.0,
    "contrast_middle": 0.4,
    "nms_sigma": 0.1,
    "max_per_class": 2,
    "calibration_slope": 2.0,
    "calibration_offset": -1.0,
    "min_probability": 0.2,
}
COMMON: dict[str, Any] = {"min_snippets": 8, "min_score": 2.0, "min_duration_s": 8.0}


@pytest.mark.parametrize("decode", ["actions", "contrast"])
def test_every_decoding_setting_changes_detections(decode: str) -> None:
    own = ACTIONS if decode == "actions" else CONTRAST
    tree: dict[str, Any] = {"class_share": 0.99} if decode == "contrast" else {}
    base = LocalizeConfig.model_validate({"decode": decode, decode: tree})
    video = activations()
    plain = localize(video, base)
    assert set(own) == set(type(getattr(base, decode)).model_fields)
    same = [
        field
        for field, value in own.items()
        if localize(video, LocalizeConfig.model_validate({"decode": decode, decode: {**tree, field: value}})) == plain
    ]
    same += [f for f, v in COMMON.items() if localize(video, base.model_copy(update={f: v})) == plain]
    assert same == []


def test_bounds_of_filters_are_inclusive_and_the_gap_is_not() -> None:
    """0 s to 2 s, 3 s to 5 s: a gap of 1 s, durations of 2 s, scores equal to the maximum."""
    curve = np.array([0.75, 0.75, 0.0, 0.5, 0.5, 0.0])
    video = ActivationSequence("v", 6.0, SnippetGrid.cover(6, 1), ("a",), np.stack([1 - curve, curve], 1), np.ones(1))

    def spans(**changes: Any) -> list[tuple[float, float]]:
        options = {"decode": "actions", "actions": {"score_weight": 0.0, "threshold_factor": 0.75}, **changes}
        return [(d.start_s, d.end_s) for d in localize(video, LocalizeConfig.model_validate(options))]

    both = [(0.0, 2.0), (3.0, 5.0)]
    assert spans() == spans(min_duration_s=2.0) == spans(min_score=0.5) == spans(min_snippets=2) == both
    assert spans(merge_gap_s=1.0) == both
    assert spans(merge_gap_s=1.25) == [(0.0, 5.0)]
    assert spans(min_snippets=3) == spans(min_duration_s=2.01) == spans(min_score=0.76) == []
    assert spans(min_score=0.51) == both[:1]


def test_scores_of_runs_and_of_events() -> None:
    """W-TALC: the maximum of the run + weight x video score. Events: the mean probability of the run."""
    curve = np.array([0.0, 0.6, 0.9, 0.0, 0.0, 0.0, 0.7, 0.8])
    probs = np.stack([1 - curve, curve], 1)
    video = ActivationSequence("v", 8.0, SnippetGrid.cover(8, 1), ("a",), probs, video_scores(probs))
    options = LocalizeConfig.model_validate({"decode": "actions", "actions": {"score_weight": 0.5}})
    assert [d.score for d in localize(video, options)] == pytest.approx([0.9 + 0.45, 0.8 + 0.45])
    assert [d.score for d in localize(video, LocalizeConfig(decode="events"))] == pytest.approx([0.75, 0.75])
    nine = np.array([0.9, 0.7, 0.2, *[0.0] * 6])  # k = ceil(9 / 8) = 2
    assert video_scores(np.stack([1 - nine, nine], 1)).tolist() == pytest.approx([0.8])


@pytest.mark.parametrize("decode", ["actions", "events"])
def test_runs_outside_the_video_are_not_detections(decode: str) -> None:
    probs = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]])
    grid = SnippetGrid(Fraction(0), Fraction(1), Fraction(1), 5)
    video = ActivationSequence("v", 3.0, grid, ("a",), probs, video_scores(probs))
    assert localize(video, LocalizeConfig.model_validate({"decode": decode})) == ()


def test_the_reliability_of_an_action_bounds_it_where_its_classes_do_not() -> None:
    """From 5 s to 15 s one class gives way to the other; only μ is high throughout, low outside."""
    probs = np.full((20, 3), 0.05)
    probs[5:10, 1] = probs[10:15, 2] = 0.85
    probs[:, 0] = 1 - probs[:, 1:].sum(axis=1)
    video = ActivationSequence("v", 20.0, SnippetGrid.cover(20, 1), ("a", "b"), probs, video_scores(probs))
    options = LocalizeConfig.model_validate({"contrast": {"min_probability": 0.0, "smooth_passes": 0}})
    found = {d.label for d in localize(video, options) if abs(d.start_s - 5) < 0.51 and abs(d.end_s - 15) < 0.51}
    assert found == {"a", "b"}


def test_the_mean_gate_leaves_a_class_even_if_the_mean_is_rounded_up() -> None:
    equal = np.full(3, 0.1)
    assert equal.mean() > equal.max()
    assert kept_classes(equal).tolist() == [0]
