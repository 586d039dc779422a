"""The bootstrap over videos against scoring every draw anew, and what it says of differences that are known."""

from __future__ import annotations

import numpy as np
import pytest

from avloc.errors import InputError
from avloc.metrics import (
    detection_scores,
    draw_videos,
    paired_difference,
    resampled_mean_ap,
    resampled_ratio,
)
from avloc.types import Detection, Instance, VideoAnnotation

T_IOU = (0.1, 0.5, 0.75)


def made(seed: int = 0, videos: int = 9) -> tuple[dict[str, tuple[Detection, ...]], list[VideoAnnotation]]:
    """Instances of three classes in some videos, and detections near and far; no two scores are equal."""
    rng = np.random.default_rng(seed)
    found, truth = {}, []
    for k in range(videos):
        starts = np.sort(rng.uniform(0, 40, size=rng.integers(0, 4) if k else 0))
        instances = tuple(Instance(s, s + rng.uniform(2, 9), "abc"[rng.integers(3)]) for s in starts.tolist())
        near = [
            (max(0.0, i.start_s + rng.normal()), i.end_s + 0.5 + rng.random(), i.label)
            for i in instances
            for _ in range(2)
        ]
        far = [(s, s + 4, "abcd"[rng.integers(4)]) for s in rng.uniform(0, 40, 5).tolist()]
        found[f"v{k}"] = tuple(Detection(s, e, label, float(rng.random())) for s, e, label in near + far)
        truth.append(VideoAnnotation(f"v{k}", 60.0, "testing", instances))
    return found, truth


def test_draws_score_as_if_the_videos_were_copied() -> None:
    found, truth = made()
    names = [t.video_id for t in truth]
    times = draw_videos(len(names), 40, seed=3)
    fast = resampled_mean_ap(found, truth, names, times, T_IOU)
    assert fast.shape == (41, 3)
    for row, counts in zip(fast, times, strict=True):
        copies = [(k, f"{names[k]} copy {i}") for k, n in enumerate(counts) for i in range(n)]
        again = [VideoAnnotation(name, 60.0, "testing", truth[k].instances) for k, name in copies]
        scores = detection_scores({name: found[names[k]] for k, name in copies}, again, T_IOU)
        np.testing.assert_allclose(row, scores.mean_ap, atol=1e-12)
    assert fast[1:, 1].std() > 0.01  # the draws do differ


def test_first_draw_is_the_set_itself_in_chunks_or_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    found, truth = made(1, 30)
    names = [t.video_id for t in truth]
    times = draw_videos(30, 50)
    whole = resampled_mean_ap(found, truth, names, times)
    np.testing.assert_allclose(whole[0], detection_scores(found, truth).mean_ap, atol=1e-12)
    monkeypatch.setattr("avloc.metrics.bootstrap._CELLS", 200)
    np.testing.assert_array_equal(resampled_mean_ap(found, truth, names, times), whole)
    assert times[1:].sum(axis=1).tolist() == [30] * 50
    np.testing.assert_array_equal(times, draw_videos(30, 50))


def test_other_videos_do_not_count_and_classes_may_vanish() -> None:
    found, truth = made()
    names = [t.video_id for t in truth]
    more = {**found, "elsewhere": (Detection(0, 1, "a", 2.0),)}
    times = draw_videos(len(names), 5)
    expected = resampled_mean_ap(found, truth, names, times, T_IOU)
    np.testing.assert_array_equal(resampled_mean_ap(more, truth, names, times, T_IOU), expected)
    alone = np.eye(len(names), dtype=np.int64)  # v0 has no instance at all
    scores = resampled_mean_ap(found, truth, names, alone, T_IOU)
    assert np.isnan(scores[0]).all()
    one = next(k for k, t in enumerate(truth) if t.instances)
    np.testing.assert_allclose(
        scores[one], detection_scores({names[one]: found[names[one]]}, [truth[one]], T_IOU).mean_ap
    )
    assert resampled_mean_ap({}, truth, names, times, T_IOU).sum() == 0


def test_ratio_is_that_of_the_videos_drawn() -> None:
    times = np.array([[1, 1, 1], [3, 0, 0], [0, 1, 2]])
    np.testing.assert_allclose(resampled_ratio(np.array([1, 2, 3]), np.array([4, 4, 4]), times), [0.5, 0.25, 8 / 12])


def test_differences_that_are_there_and_that_are_not() -> None:
    rng = np.random.default_rng(0)
    times = draw_videos(80, 1000)
    right = rng.random(80)
    base, ahead, other = (
        resampled_ratio(values, np.ones(80), times)[None]
        for values in (right, right + 0.02 + 0.01 * rng.normal(size=80), right + 0.5 * rng.normal(size=80))
    )
    clear = paired_difference(ahead, base)  # small, but the same in every video
    assert clear.real
    assert clear.low < clear.observed < clear.high
    assert clear.p == pytest.approx(1 / 1001)
    turned = paired_difference(base, ahead)
    assert turned.observed == pytest.approx(-clear.observed)
    assert not paired_difference(other, base).real
    same = paired_difference(base, base)
    assert (same.observed, same.low, same.high, same.p, same.real) == (0, 0, 0, 1.0, False)


def test_the_luck_of_the_seeds_widens_the_interval() -> None:
    times = draw_videos(50, 500)
    base = resampled_ratio(np.arange(50), np.full(50, 50), times)[None]
    lucky = np.concatenate([base + 0.01, base + 0.3, base - 0.25])
    steady = np.concatenate([base + 0.02] * 3)
    assert paired_difference(steady, base).real
    assert paired_difference(lucky + 0.01, lucky).real  # run by run
    assert not paired_difference(lucky[[1, 2]] + 0.01, lucky).real
    assert not paired_difference(lucky, base).real
    assert paired_difference(lucky, base).observed == pytest.approx(0.02)


def test_too_little_to_compare() -> None:
    found, truth = made()
    with pytest.raises(InputError, match="at least two"):
        draw_videos(1)
    with pytest.raises(InputError, match="draws of 3"):
        resampled_mean_ap(found, truth, ["v0", "v1"], draw_videos(3, 2))
    with pytest.raises(InputError, match="no instance"):
        resampled_mean_ap(found, [], ["v0", "v1"], draw_videos(2, 2))
    with pytest.raises(InputError, match="the same"):
        paired_difference(np.zeros((1, 3)), np.zeros((1, 4)))
