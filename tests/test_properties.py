"""Properties for any input: invariance to padding, permuted classes and shifted time; rules of decoding."""

from __future__ import annotations

import dataclasses
import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.config import ActionsOptions, LocalizeConfig, preset
from avloc.localize import detect, events, kept_classes, localize, runs, video_scores
from avloc.metrics import detection_scores
from avloc.model import fusion, losses
from avloc.model.batch import Batch
from avloc.model.network import AudioVisualLocalizer
from avloc.train.dataset import bin_sample
from avloc.types import ActivationSequence, Detection, Instance, SnippetGrid, VideoAnnotation

DU, DV, C = 5, 4, 3
PAPER = preset("paper")
ACTIONS = LocalizeConfig(decode="actions")
quick = settings(max_examples=25, deadline=None)


def make_batch(rng: np.random.Generator, lengths: list[int], present: list[tuple[bool, bool]], pad: int) -> Batch:
    """Videos with random padding, so that any use of it shows."""
    most = max(lengths) + pad
    audio, visual = (torch.from_numpy(rng.normal(size=(len(lengths), most, d)) * 100) for d in (DU, DV))
    mask = torch.zeros(len(lengths), most, dtype=torch.bool)
    for i, n in enumerate(lengths):
        audio[i, :n], visual[i, :n] = (torch.from_numpy(rng.normal(size=(n, d))) for d in (DU, DV))
        mask[i, :n] = True
    labels = torch.from_numpy((rng.random((len(lengths), C)) < 0.5).astype(float))
    return Batch(audio, visual, mask, torch.tensor(present), labels)


def network(**options: object) -> AudioVisualLocalizer:
    """The network of the preset `paper` with changed options, in double precision."""
    config = preset("paper", {f"model.{name}": value for name, value in options.items()})
    return AudioVisualLocalizer(DU, DV, C, config.model).double()


def alone(batch: Batch, i: int) -> Batch:
    n = int(batch.mask[i].sum())
    return Batch(
        batch.audio[i : i + 1, :n],
        batch.visual[i : i + 1, :n],
        batch.mask[i : i + 1, :n],
        batch.present[i : i + 1],
        batch.labels[i : i + 1],
    )


@pytest.mark.parametrize("fused", [False, True])
def test_a_blank_snippet_does_not_blow_up_the_gradient(monkeypatch: pytest.MonkeyPatch, fused: bool) -> None:
    """Rows of zeros (a black frame, silence) have no direction: Λ and its gradient are 0."""
    monkeypatch.setattr(fusion, "_FUSED_FROM", 0 if fused else 1024)
    norms = []
    for blank in (False, True):
        torch.manual_seed(0)
        model = network(embed_dim=8)
        batch = make_batch(np.random.default_rng(0), [12, 9], [(True, True)] * 2, 0)
        if blank:
            batch.audio[0, 3], batch.visual[0, 5] = 0, 0
        sum(terms_of(model, batch).values()).backward()
        norms.append(max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None))
    assert norms[1] < 5 * norms[0]


def terms_of(model: AudioVisualLocalizer, batch: Batch) -> dict[str, torch.Tensor]:
    output = model(batch)
    terms, rate = losses.output_terms(output, batch.labels, batch.mask, PAPER.loss)
    return {**terms, "rate": rate}


@quick
@given(
    seed=st.integers(0, 2**16),
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    pad=st.integers(0, 9),
    stages=st.integers(0, 3),
    head=st.sampled_from(["open-max", "soft-max"]),
    skip=st.sampled_from(["none", "plain", "dense"]),
    modality=st.sampled_from(["audio-visual", "audio", "visual"]),
)
def test_padding_is_invisible(
    seed: int, lengths: list[int], pad: int, stages: int, head: str, skip: str, modality: str
) -> None:
    rng = np.random.default_rng(seed)
    choices = [(True, True), (True, False), (False, True)] if modality == "audio-visual" else [(True, True)]
    present = [choices[k] for k in rng.integers(len(choices), size=len(lengths))]
    torch.manual_seed(seed)
    wide = 7 if modality == "audio-visual" else None
    model = network(
        modality=modality, num_stages=stages, embed_dim=6, audio_embed_dim=wide, skip=skip, head=head
    ).eval()
    batch = make_batch(rng, lengths, present, pad)
    together = model(batch)
    total = dict.fromkeys(("mil", "continuity", "pseudo", "rate"), 0.0)
    for i, n in enumerate(lengths):
        single = model(alone(batch, i))
        torch.testing.assert_close(single.probs[0], together.probs[i, :n], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(single.embedding[0], together.embedding[i, :n], rtol=1e-5, atol=1e-5)
        for name, value in terms_of(model, alone(batch, i)).items():
            total[name] += value.item() / len(lengths)
    for name, value in terms_of(model, batch).items():
        assert value.item() == pytest.approx(total[name], rel=1e-5, abs=1e-8), name


@quick
@given(seed=st.integers(0, 2**16), pad=st.integers(1, 9))
def test_padding_is_invisible_to_pairs(seed: int, pad: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = [int(n) for n in rng.integers(2, 12, size=4)]
    results = []
    for extra in (0, pad):
        fresh = np.random.default_rng(seed)
        x, h = (torch.zeros(4, max(lengths) + extra, d, dtype=torch.float64) + 9 for d in (6, C))
        mask = torch.zeros(4, max(lengths) + extra, dtype=torch.bool)
        for i, n in enumerate(lengths):
            x[i, :n], h[i, :n] = (torch.from_numpy(fresh.normal(size=(n, d))) for d in (6, C))
            mask[i, :n] = True
        labels = torch.from_numpy(fresh.integers(0, 2, size=(4, C)).astype(float))
        results.append(losses.coactivity_loss(*losses.coactivity_descriptors(x, h, labels, mask), 0.5).item())
    assert results[0] == pytest.approx(results[1], rel=1e-9)


@quick
@given(seed=st.integers(0, 2**16), order=st.permutations(range(C)))
def test_classes_permute(seed: int, order: list[int]) -> None:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = network(embed_dim=6).eval()
    batch = make_batch(rng, [7, 5], [(True, True)] * 2, 2)
    before, terms = model(batch), terms_of(model, batch)
    model.action_head.weight.data = model.action_head.weight.data[order]
    batch.labels = batch.labels[:, order]
    after = model(batch)
    torch.testing.assert_close(after.probs[:, :, 1:], before.probs[:, :, 1:][:, :, order])
    torch.testing.assert_close(after.reliability, before.reliability)
    for name, value in terms_of(model, batch).items():
        assert value.item() == pytest.approx(terms[name].item(), rel=1e-9), name


def test_a_missing_modality_is_not_looked_at() -> None:
    rng = np.random.default_rng(0)
    model = network(embed_dim=6).eval()
    batch = make_batch(rng, [6], [(False, True)], 0)
    before = model(batch).probs
    batch.audio = batch.audio + 1000
    assert torch.equal(model(batch).probs, before)
    batch.visual = batch.visual + 1
    assert not torch.equal(model(batch).probs, before)


probabilities = st.integers(0, 2**16).map(lambda seed: np.random.default_rng(seed))


def activations(rng: np.random.Generator, length: int, start_s: int = 0, name: str = "v") -> ActivationSequence:
    raw = rng.random((length, 1 + C)) ** 4
    probs = raw / raw.sum(axis=1, keepdims=True)
    grid = SnippetGrid(Fraction(start_s), Fraction(1), Fraction(1), length)
    classes = tuple("abc")
    return ActivationSequence(name, float(start_s + length), grid, classes, probs, video_scores(probs))


@quick
@given(
    rng=probabilities,
    length=st.integers(1, 40),
    shift=st.integers(0, 50),
    decode=st.sampled_from(["actions", "events"]),
)
def test_shifting_time_shifts_segments(rng: np.random.Generator, length: int, shift: int, decode: str) -> None:
    state = rng.bit_generator.state
    options = LocalizeConfig(decode=decode)
    here = localize(activations(rng, length), options)
    rng.bit_generator.state = state
    there = localize(activations(rng, length, shift), options)
    moved = [(d.start_s + shift, d.end_s + shift, d.label, d.score) for d in here]
    assert [(d.start_s, d.end_s, d.label, d.score) for d in there] == moved


@quick
@given(rng=probabilities, length=st.integers(1, 40))
def test_detections_lie_on_the_grid_in_kept_classes_and_do_not_overlap(rng: np.random.Generator, length: int) -> None:
    video = activations(rng, length)
    found = detect(video, ACTIONS)
    kept = {video.classes[c] for c in kept_classes(video.video_scores)}
    for d in found:
        assert d.label in kept
        assert d.start_s == int(d.start_s)
        assert 0 <= d.start_s < d.end_s <= length
        assert d.end_s - d.start_s >= min(2, length)
        curve = video.probs[int(d.start_s) : int(d.end_s), 1 + video.classes.index(d.label)]
        expected = curve.max() + 0.7 * video.video_scores[video.classes.index(d.label)]
        assert d.score == pytest.approx(expected)
    for label in kept:
        spans = sorted((d.start_s, d.end_s) for d in found if d.label == label)
        assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))


@quick
@given(rng=probabilities, length=st.integers(1, 40))
def test_events_say_again_what_argmax_says(rng: np.random.Generator, length: int) -> None:
    video = activations(rng, length)
    rebuilt = np.zeros(length, dtype=int)
    for d in events(video):
        rebuilt[int(d.start_s) : int(d.end_s)] = 1 + video.classes.index(d.label)
    assert rebuilt.tolist() == video.probs.argmax(axis=1).tolist()


@quick
@given(rng=probabilities, length=st.integers(2, 40), decode=st.sampled_from(["actions", "events", "contrast"]))
def test_what_lies_beyond_the_end_of_the_video_is_cut(rng: np.random.Generator, length: int, decode: str) -> None:
    whole = activations(rng, length)
    cut = dataclasses.replace(whole, duration_s=length / 2 - 0.25)
    for d in localize(cut, LocalizeConfig(decode=decode)):
        assert 0 <= d.start_s < d.end_s <= cut.duration_s


@given(st.lists(st.booleans(), max_size=30))
def test_runs_cover_exactly_what_is_true(values: list[bool]) -> None:
    above = np.array(values, dtype=bool)
    rebuilt = np.zeros(len(values), dtype=bool)
    for first, stop in runs(above):
        assert not rebuilt[first:stop].any()
        rebuilt[first:stop] = True
    assert rebuilt.tolist() == values


def truth_of(rng: np.random.Generator, videos: int) -> list[VideoAnnotation]:
    result = []
    for v in range(videos):
        starts = np.cumsum(rng.integers(1, 9, size=3)) * 2.0
        instances = tuple(Instance(s, s + float(rng.integers(1, 3)), "abc"[rng.integers(3)]) for s in starts)
        result.append(VideoAnnotation(f"v{v}", 60.0, "validation", instances))
    return result


@quick
@given(rng=probabilities)
def test_perfect_detections_score_1_and_map_falls_as_t_iou_rises(rng: np.random.Generator) -> None:
    truth = truth_of(rng, 5)
    perfect = {v.video_id: [Detection(i.start_s, i.end_s, i.label, 1.0) for i in v.instances] for v in truth}
    assert detection_scores(perfect, truth).average_mean_ap == 1.0
    rough = {
        video: [
            Detection(max(0, d.start_s - rng.random()), d.end_s + rng.random(), d.label, rng.random()) for d in found
        ]
        for video, found in perfect.items()
    }
    curve = detection_scores(rough, truth, np.linspace(0.1, 0.95, 18)).mean_ap
    assert (np.diff(curve) <= 1e-12).all()


def test_merging_and_filtering_are_what_they_say() -> None:
    probs = np.zeros((10, 2))
    probs[[1, 2, 4, 5, 8, 9], 1] = (0.9, 0.9, 0.8, 0.8, 0.7, 0.7)
    probs[:, 0] = 1 - probs[:, 1]
    grid = SnippetGrid.cover(10, 1)
    video = ActivationSequence("v", 10.0, grid, ("a",), probs, np.array([0.9]))
    spans = [(d.start_s, d.end_s) for d in localize(video, ACTIONS)]
    assert spans == [(1, 3), (4, 6), (8, 10)]
    merged = localize(video, LocalizeConfig(decode="actions", merge_gap_s=1.5))
    assert [(d.start_s, d.end_s) for d in merged] == [(1, 6), (8, 10)]
    assert [
        (d.start_s, d.end_s)
        for d in localize(video, LocalizeConfig(decode="actions", merge_gap_s=1.5, min_duration_s=3))
    ] == [(1, 6)]
    assert len(localize(video, LocalizeConfig(decode="actions", min_score=1.4))) == 2


def test_a_merged_segment_keeps_the_higher_score() -> None:
    probs = np.array([[0.1, 0.9], [0.1, 0.9], [1, 0], [0.4, 0.6], [0.4, 0.6], [1, 0], [1, 0], [0.3, 0.7], [0.3, 0.7]])
    video = ActivationSequence("v", 9.0, SnippetGrid.cover(9, 1), ("a",), probs, np.array([0.9]))
    options = LocalizeConfig(decode="actions", merge_gap_s=1.5, actions=ActionsOptions(score_weight=0))
    assert localize(video, options) == (Detection(0, 5, "a", 0.9), Detection(7, 9, "a", 0.7))


def test_curves_are_smoothed_by_a_centred_mean() -> None:
    """Means of 1, 2 or 3 snippets: 0, 0, 1/3, 1/3, 1/3, 0, 0; the threshold is half of the maximum."""
    curve = np.array([0, 0, 0, 1.0, 0, 0, 0])
    video = ActivationSequence(
        "v", 7.0, SnippetGrid.cover(7, 1), ("a",), np.stack([1 - curve, curve], axis=1), np.ones(1)
    )
    for width in (2, 3):
        options = ActionsOptions(smooth_snippets=width, score_weight=0)
        (found,) = localize(video, LocalizeConfig(decode="actions", actions=options))
        assert (found.start_s, found.end_s) == (2, 5)
        assert found.score == pytest.approx(1 / 3)


def test_classes_below_the_mean_video_score_are_dropped() -> None:
    assert kept_classes(np.array([0.9, 0.1, 0.2])).tolist() == [0]
    assert kept_classes(np.array([0.5, 0.1, 0.4])).tolist() == [0, 2]
    assert kept_classes(np.array([0.3, 0.3, 0.3])).tolist() == [0, 1, 2]
    probs = np.full((8, 4), 0.02)
    probs[2:5, 1], probs[5:8, 2] = 0.9, 0.3
    probs[:, 0] = 1 - probs[:, 1:].sum(axis=1)
    video = ActivationSequence("v", 8.0, SnippetGrid.cover(8, 1), tuple("abc"), probs, video_scores(probs))
    assert [(d.label, d.start_s, d.end_s) for d in localize(video, ACTIONS)] == [("a", 2, 5)]
    assert {
        d.label for d in localize(video, LocalizeConfig(decode="actions", actions=ActionsOptions(class_gate="none")))
    } == {"a", "b", "c"}


def test_the_temporal_threshold_is_max_minus_a_share_of_the_range() -> None:
    curve = np.array([0.0, 0.2, 0.45, 0.55, 1.0, 0.5, 0.1])
    probs = np.stack([1 - curve, curve], axis=1)
    video = ActivationSequence("v", 7.0, SnippetGrid.cover(7, 1), ("a",), probs, np.array([1.0]))
    spans = {
        factor: [
            (d.start_s, d.end_s)
            for d in localize(video, LocalizeConfig(decode="actions", actions=ActionsOptions(threshold_factor=factor)))
        ]
        for factor in (0.5, 0.7)
    }
    assert spans == {0.5: [(3, 6)], 0.7: [(2, 6)]}


@quick
@given(length=st.integers(1, 900), count=st.integers(1, 300), seed=st.integers(0, 99))
def test_drawn_snippets_are_spread_in_order_and_never_repeat(length: int, count: int, seed: int) -> None:
    drawn = bin_sample(length, count, np.random.default_rng(seed))
    assert len(drawn) == min(length, count)
    assert (np.diff(drawn) > 0).all()
    assert 0 <= drawn[0] <= drawn[-1] < length
    assert np.diff(drawn, prepend=0, append=length).max() <= 2 * -(-length // min(length, count))
