"""Videos far longer than those of training: their windows, and localization in windows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avloc.config import preset
from avloc.model.batch import windows
from avloc.model.checkpoint import ModelCard
from avloc.model.losses import topk_mean
from avloc.pipeline.attention import correlations
from avloc.pipeline.localizer import Localizer
from avloc.pipeline.settings import with_options
from avloc.types import FeatureSequence, SnippetGrid
from feature_sets import make_videos

SIZES = (6, 8)


@given(st.integers(1, 3000), st.one_of(st.none(), st.integers(8, 400)))
def test_windows_tile_a_video_and_keep_their_middles(length: int, size: int | None) -> None:
    cuts = windows(length, size)
    assert [i for cut in cuts for i in range(cut.keep_first, cut.keep_stop)] == list(range(length))
    assert {cut.stop - cut.first for cut in cuts} == {min(length, size or length)}
    for before, after in itertools.pairwise(cuts):
        shared = before.stop - after.first
        assert size is not None
        assert shared >= size // 4  # context on both sides of a window boundary
        assert min(before.stop - before.keep_stop, after.keep_first - after.first) >= shared // 2
    if size is not None:
        assert len(cuts) <= 1 + np.ceil(max(length - size, 0) / (0.75 * size))


def localizer() -> Localizer:
    torch.manual_seed(0)
    config = preset("default", {"model.embed_dim": 16, "model.correlation_scale": 4.0})
    card = ModelCard(config, ("bark", "drum", "saw"), *SIZES, {})
    return Localizer(card.build(), card)


def video() -> FeatureSequence:
    return make_videos(count=1, snippets=(70, 70), sizes=SIZES)[0][0]


def cut_out(whole: FeatureSequence, first: int, stop: int) -> FeatureSequence:
    assert whole.audio is not None
    assert whole.visual is not None
    grid = SnippetGrid.cover(stop - first, 1)
    return FeatureSequence("part", float(stop - first), grid, whole.visual[first:stop], whole.audio[first:stop])


@pytest.mark.parametrize(("divisor", "count"), [(8, 9), (2, 35), (1, 70)])
def test_video_scores_are_means_over_the_trained_share_of_the_snippets(divisor: int, count: int) -> None:
    config = preset("default", {"model.embed_dim": 16, "loss.topk_divisor": divisor})
    card = ModelCard(config, ("bark", "drum", "saw"), *SIZES, {})
    seen = Localizer(card.build(), card).activations(video())
    best = np.sort(seen.probs[:, 1:], axis=0)[-count:]
    np.testing.assert_allclose(seen.video_scores, best.mean(axis=0), rtol=1e-5)


def test_each_window_is_localized_like_a_video_of_its_own() -> None:
    model, whole = localizer(), video()
    windowed = with_options(model, {"localize.window_snippets": 16}).activations(whole)
    for cut in windows(70, 16):
        own = model.activations(cut_out(whole, cut.first, cut.stop)).probs
        kept = slice(cut.keep_first - cut.first, cut.keep_stop - cut.first)
        np.testing.assert_allclose(windowed.probs[cut.keep_first : cut.keep_stop], own[kept], atol=1e-6)
    scores = topk_mean(torch.from_numpy(windowed.probs)[None], torch.ones(1, 70, dtype=torch.bool), 8)[0, 1:]
    np.testing.assert_allclose(windowed.video_scores, scores, atol=1e-6)


@pytest.mark.parametrize("size", [70, 1024, None])
def test_a_video_within_one_window_is_whole(size: int | None) -> None:
    model, whole = localizer(), video()
    full = with_options(model, {"localize.window_snippets": None}).activations(whole)
    cut = with_options(model, {"localize.window_snippets": size}).activations(whole)
    np.testing.assert_array_equal(cut.probs, full.probs)
    smaller = with_options(model, {"localize.window_snippets": 32}).activations(whole)
    assert np.abs(smaller.probs - full.probs).max() > 1e-3


def test_attention_is_drawn_of_the_whole_video() -> None:
    narrow = with_options(localizer(), {"localize.window_snippets": 16})
    assert correlations(narrow, video())[0].shape == (70, 70)
