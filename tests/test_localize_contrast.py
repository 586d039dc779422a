"""The contrast decoder: against plain loops, on curves with a known answer, and for any input."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.config import ContrastOptions, LocalizeConfig, preset
from avloc.errors import ConfigError
from avloc.localize import localize, video_scores
from avloc.localize.contrast import (
    Candidates,
    calibrated,
    candidates,
    crossings,
    full_video_bonus,
    inner_outer,
    logistic,
    select_classes,
    soft_nms,
)
from avloc.types import ActivationSequence, Detection, SnippetGrid

quick = settings(max_examples=60, deadline=None)
CONTRAST = LocalizeConfig(decode="contrast")


def with_contrast(min_snippets: int = 2, **options: float) -> LocalizeConfig:
    return LocalizeConfig(min_snippets=min_snippets, contrast=ContrastOptions.model_validate(options))


heights = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1)
curves_of = st.lists(heights, min_size=1, max_size=30)


def video(
    probs: np.ndarray, step_s: Fraction | int = 1, start_s: Fraction | int = 0, duration_s: float | None = None
) -> ActivationSequence:
    """Class columns as given, the rest background."""
    full = np.concatenate([1 - probs.sum(axis=1, keepdims=True), probs], axis=1)
    grid = SnippetGrid(Fraction(start_s), Fraction(step_s), Fraction(step_s), len(probs))
    end = float(start_s + step_s * len(probs)) if duration_s is None else duration_s
    names = tuple("abcdefgh"[: probs.shape[1]])
    return ActivationSequence("v", end, grid, names, full, video_scores(full))


def noise(seed: int, length: int, classes: int = 3) -> np.ndarray:
    raw = np.random.default_rng(seed).random((length, 1 + classes)) ** 4
    return (raw / raw.sum(axis=1, keepdims=True))[:, 1:]


def height(curve: list[float], x: float) -> float:
    """The curve at position x: linear between cell centres, constant outside them."""
    place = min(max(x - 0.5, 0), len(curve) - 1)
    low = min(int(place), max(len(curve) - 2, 0))
    high = min(low + 1, len(curve) - 1)
    return curve[low] + (place - low) * (curve[high] - curve[low])


@quick
@given(curve=curves_of, level=heights)
def test_crossings_are_where_a_walk_along_the_curve_finds_them(curve: list[float], level: float) -> None:
    found = crossings(np.array([curve]), np.array([[level]]))
    expected = []
    start = None
    for i, value in enumerate(curve):
        if value >= level and start is None:
            start = 0.0 if i == 0 else i - 0.5 + (level - curve[i - 1]) / (value - curve[i - 1])
        if value < level and start is not None:
            expected.append((start, i - 0.5 + (curve[i - 1] - level) / (curve[i - 1] - value)))
            start = None
    if start is not None:
        expected.append((start, float(len(curve))))
    assert found.row.tolist() == [0] * len(expected)
    np.testing.assert_allclose(np.c_[found.start, found.stop].ravel(), np.array(expected).ravel(), atol=1e-9)
    for x in (*found.start, *found.stop):
        if 0 < x < len(curve):
            assert height(curve, x) == pytest.approx(level, abs=1e-9)


@quick
@given(seed=st.integers(0, 2**16), rows=st.integers(1, 4), length=st.integers(1, 20), cuts=st.integers(1, 5))
def test_many_curves_and_levels_are_each_alone(seed: int, rows: int, length: int, cuts: int) -> None:
    rng = np.random.default_rng(seed)
    curves, levels = rng.random((rows, length)), rng.random((rows, cuts))
    together = crossings(curves, levels)
    alone = [
        (row, start, stop)
        for row in range(rows)
        for cut in range(cuts)
        for _, start, stop in zip(*crossings(curves[[row]], levels[[row], cut : cut + 1]), strict=True)
    ]
    assert [tuple(one) for one in zip(*together, strict=True)] == alone


def area(curve: list[float], start: float, stop: float) -> float:
    """Area under the curve from start to stop, 0 outside the video. Simpson's rule is exact on linear pieces."""
    start, stop = max(start, 0.0), min(stop, float(len(curve)))
    knots = (
        sorted({start, stop, *(i + 0.5 for i in range(len(curve)) if start < i + 0.5 < stop)}) if stop > start else []
    )
    return sum(
        (b - a) * (height(curve, a) + 4 * height(curve, (a + b) / 2) + height(curve, b)) / 6
        for a, b in itertools.pairwise(knots)
    )


@quick
@given(
    curve=curves_of,
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda e: abs(e[0] - e[1]) > 0.01),
    margin=st.sampled_from([0.1, 0.25, 1.0]),
    outside=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_contrast_is_the_inner_mean_and_that_of_the_margins(
    curve: list[float], ends: tuple[float, float], margin: float, outside: float
) -> None:
    start, stop = min(ends) * len(curve), max(ends) * len(curve)
    inner, outer = inner_outer(np.array([curve]), one_candidate(start, stop), margin, outside)
    wing = margin * (stop - start)
    inside = area(curve, start, stop) / (stop - start)
    around = area(curve, start - wing, start) + area(curve, stop, stop + wing)
    missing = max(0.0, wing - start) + max(0.0, stop + wing - len(curve))
    assert inner[0] == pytest.approx(inside, abs=1e-9)
    assert outer[0] == pytest.approx((around + missing * outside * inside) / (2 * wing), abs=1e-9)


def one_candidate(start: float, stop: float) -> Candidates:
    return Candidates(np.array([0]), np.array([float(start)]), np.array([float(stop)]))


def test_contrast_by_hand() -> None:
    curve = np.array([[0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.3, 0.3, 0.3]])
    inner, outer = inner_outer(curve, one_candidate(3.5, 5.5), 0.5, 0.5)
    assert (inner[0], outer[0]) == pytest.approx((0.9, (0.5 + 0.6) / 2))  # margins of one snippet, on the slopes
    inner, outer = inner_outer(curve, one_candidate(0, 9), 0.25, 0.5)
    assert inner[0] == pytest.approx(3.9 / 9)
    assert outer[0] == pytest.approx(0.5 * inner[0])
    assert inner_outer(curve, one_candidate(0, 9), 0.25, 0.0)[1][0] == 0


def test_the_briefer_the_video_the_more_likely_it_is_all_action() -> None:
    def of_the_whole(length: int, **changes: float) -> float:
        curve = np.full((length, 1), 0.2)
        curve[length // 2 :] = 0.3
        found = localize(video(curve), with_contrast(**changes))
        return max(d.score for d in found if d.end_s - d.start_s == length)

    scores = [of_the_whole(length) for length in (10, 20, 40, 80)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 2 * scores[2]
    even = {of_the_whole(length, short_video_bonus=0.0) for length in (10, 20, 40)}
    assert max(even) - min(even) < 1e-9
    assert of_the_whole(4) == of_the_whole(4, short_video_bonus=100.0), "the bonus of the whole video is bounded"


def test_the_bonus_of_a_whole_video_shrinks_with_the_fall_of_its_curve() -> None:
    curves = np.array([[0.8, 0.8, 0.8, 0.4], [0.5, 0.5, 0.5, 0.5], [0.9, 0.9, 0.0, 0.0]])
    own = ContrastOptions(short_video_bonus=4.0, full_video_drop=0.8, smooth_passes=0)
    assert full_video_bonus(curves, own).tolist() == pytest.approx([0.35, 0.5, 0.0])
    smooth = ContrastOptions(short_video_bonus=4.0, full_video_drop=0.8)  # falls by 0.3 only
    assert full_video_bonus(curves, smooth)[0] == pytest.approx(0.7 * (1 - 0.3 / 0.8))
    capped = ContrastOptions(short_video_bonus=100.0, full_video_margin=0.25, full_video_drop=0.8, smooth_passes=0)
    assert full_video_bonus(curves, capped).tolist() == pytest.approx([0.4375, 0.625, 0.0])


@pytest.mark.parametrize("length", [6, 8, 10, 15])
def test_a_short_video_is_action_throughout_where_its_curve_is_flat_and_not_where_it_falls(length: int) -> None:
    """As for a sound from 1 s to 5 s of a clip of 8 s; a bonus that ignores the curve gave 0 s to 8 s."""

    def found(low: float) -> tuple[float, float]:
        curve = np.full((length, 1), 0.9 * low)
        curve[1 : length // 2 + 1] = 0.9
        first = localize(video(curve), CONTRAST)[0]
        return first.start_s, first.end_s

    assert found(0.9) == found(0.7) == (0.0, length)
    for low in (0.0, 0.2):
        assert found(low) == pytest.approx((1, length // 2 + 1), abs=0.3)


@quick
@given(
    seed=st.integers(0, 2**16),
    count=st.integers(0, 25),
    sigma=st.sampled_from([0.1, 0.5]),
    most=st.integers(1, 30),
    floor=st.sampled_from([0.0, 0.2]),
)
def test_soft_nms_is_what_loops_say(seed: int, count: int, sigma: float, most: int, floor: float) -> None:
    rng = np.random.default_rng(seed)
    row = np.sort(rng.integers(0, 4, count)) * 3
    start = rng.random(count) * 10
    end = start + 0.1 + 5 * rng.random(count)
    score = rng.permutation(np.linspace(0.05, 1, count))
    chosen, left = soft_nms(row, start, end, score, sigma, most, floor)
    expected = {}
    for r in set(row.tolist()):
        remaining = {i: float(score[i]) for i in range(count) if row[i] == r}
        for _ in range(most):
            if not remaining:
                break
            best = max(remaining, key=lambda i: remaining[i])
            value = remaining.pop(best)
            if value <= floor:
                break
            expected[best] = value
            for i in remaining:
                common = max(0.0, min(end[i], end[best]) - max(start[i], start[best]))
                overlap = common / (end[i] - start[i] + end[best] - start[best] - common)
                remaining[i] *= math.exp(-(overlap**2) / sigma)
    assert dict(zip(chosen.tolist(), left.tolist(), strict=True)) == pytest.approx(expected, rel=1e-9)


def best(found: tuple[Detection, ...], label: str = "a") -> Detection:
    return next(d for d in found if d.label == label)


ENDS = [(14.0, 19.0), (14.3, 19.6), (13.75, 21.4), (16.5, 20.5), (12.9, 22.2)]


@pytest.mark.parametrize(("start", "end"), [(12.0, 21.0), (12.3, 21.6), (11.75, 23.4), (14.5, 22.5), (10.9, 20.2)])
@pytest.mark.parametrize("step", [Fraction(1), Fraction(16, 25)])
def test_boundaries_between_snippets_are_found(start: float, end: float, step: Fraction) -> None:
    """A curve that rises to half its height at `start` and falls to it at `end`, over two snippets each.

    An action not longer than its slopes comes out wider: the contrast is then best below half height.
    """
    centres = np.arange(40) + 0.5
    curve = np.clip((centres - start) / 2 + 0.5, 0, 1) * np.clip((end - centres) / 2 + 0.5, 0, 1)
    found = best(localize(video(0.98 * curve[:, None], step), with_contrast(smooth_passes=0)))
    assert found.start_s / float(step) == pytest.approx(start, abs=0.1)
    assert found.end_s / float(step) == pytest.approx(end, abs=0.1)
    assert found.score > 0.9
    blurred = best(localize(video(0.98 * curve[:, None], step), CONTRAST))
    assert blurred.start_s / float(step) == pytest.approx(start, abs=0.25)
    assert blurred.end_s / float(step) == pytest.approx(end, abs=0.25)


@pytest.mark.parametrize(("start", "end"), ENDS)
def test_a_cell_partly_in_the_action_puts_the_boundary_inside_it(start: float, end: float) -> None:
    """Cells with their share of the action: half height is crossed within a tenth of a snippet of the truth."""
    cells = np.arange(40)
    share = np.clip(np.minimum(end, cells + 1) - np.maximum(start, cells), 0, 1)[None]
    cut = crossings(share, np.array([[0.5]]))
    assert (cut.start[0], cut.stop[0]) == pytest.approx((start, end), abs=0.1)
    found = best(localize(video(0.98 * share.T), CONTRAST))
    assert (found.start_s, found.end_s) == pytest.approx((start, end), abs=0.5)


def test_two_actions_of_a_class_and_one_of_another() -> None:
    probs = np.full((40, 2), 0.02)
    probs[5:12, 0] = probs[20:30, 0] = 0.9
    probs[33:38, 1] = 0.8
    found = localize(video(probs), CONTRAST)
    strong = sorted((round(d.start_s), round(d.end_s), d.label) for d in found if d.score > 0.5)
    assert strong == [(5, 12, "a"), (20, 30, "a"), (33, 38, "b")]


def test_the_whole_video_is_always_a_candidate() -> None:
    curves = noise(0, 20).T
    found = candidates(curves, curves.sum(axis=0), CONTRAST)
    whole = [(r, a, b) for r, a, b in zip(*found, strict=True) if a == 0 and b == 20]
    assert sorted(whole) == [(0, 0, 20), (1, 0, 20), (2, 0, 20)]
    few = LocalizeConfig(min_snippets=100)
    assert len(candidates(curves, curves.sum(axis=0), few).row) == 3


def test_candidates_are_cut_from_each_class_and_from_reliability_once() -> None:
    own, reliability = np.zeros((2, 20)), np.zeros(20)
    own[0, 2:6], reliability[10:16] = 0.9, 0.9
    plain = with_contrast(smooth_passes=0, levels=1)
    found = sorted(zip(*candidates(own, reliability, plain), strict=True))
    late = 0.5 / 0.9 - 0.5  # level 0.5 crosses a step of 0.9 nearer to its top than level 0.45
    expected = [
        (0, 0.0, 20.0),
        (0, 2.0, 6.0),
        (0, 2 + late, 6 - late),
        (0, 10.0, 16.0),
        (0, 10 + late, 16 - late),
        (1, 0.0, 20.0),
        (1, 10.0, 16.0),
        (1, 10 + late, 16 - late),
    ]
    np.testing.assert_allclose(np.array(found, dtype=float), np.array(expected), atol=1e-9)


def test_short_cuts_are_left_out_unless_the_video_is_short() -> None:
    curve = np.zeros((1, 12))
    curve[0, 6] = 1.0
    options = with_contrast(smooth_passes=0)
    assert len(candidates(curve, np.zeros(12), options).row) == 1
    assert len(candidates(curve, np.zeros(12), with_contrast(min_snippets=1, smooth_passes=0)).row) > 1


def test_an_action_to_the_end_reaches_the_end_of_the_video() -> None:
    probs = np.full((20, 1), 0.02)
    probs[12:] = 0.9
    assert best(localize(video(probs, duration_s=20.4), CONTRAST)).end_s == 20.4
    assert best(localize(video(probs, duration_s=19.8), CONTRAST)).end_s == 19.8


def test_one_snippet() -> None:
    found = localize(video(np.array([[0.9]]), duration_s=0.7), CONTRAST)
    assert [(d.start_s, d.end_s, d.label) for d in found] == [(0.0, 0.7, "a")]


@pytest.mark.parametrize("level", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_constant_curves_give_the_whole_video(level: float, length: int) -> None:
    found = localize(video(np.full((length, 1), level)), with_contrast(min_probability=0.0))
    assert [(d.start_s, d.end_s) for d in found] == [(0.0, float(length))]


def test_nothing_stands_out_of_nothing() -> None:
    assert localize(video(np.zeros((9, 2))), with_contrast(min_probability=0.0)) == ()


@quick
@given(seed=st.integers(0, 2**16), length=st.integers(1, 40), classes=st.integers(1, 6))
def test_scores_are_probabilities_and_segments_lie_in_the_video(seed: int, length: int, classes: int) -> None:
    found = localize(video(noise(seed, length, classes), duration_s=length + 0.4), CONTRAST)
    for d in found:
        assert 0.01 <= d.score + 1e-9 <= 1 + 1e-9
        assert 0 <= d.start_s < d.end_s <= length + 0.4
    assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)
    few = localize(video(noise(seed, length, classes), duration_s=length + 0.4), with_contrast(max_per_class=2))
    assert all(sum(d.label == label for d in few) <= 2 for label in "abcdef")
    assert set(few) <= set(found)
    assert localize(video(noise(seed, length, classes), duration_s=length + 0.4), CONTRAST) == found


@quick
@given(seed=st.integers(0, 2**16), length=st.integers(2, 30), order=st.permutations(range(4)))
def test_classes_permute(seed: int, length: int, order: list[int]) -> None:
    probs = noise(seed, length, 4)
    names = dict(zip("abcd", ("abcd"[k] for k in order), strict=True))
    there = sorted((names[d.label], d.score, d.start_s, d.end_s) for d in localize(video(probs[:, order]), CONTRAST))
    here = sorted((d.label, d.score, d.start_s, d.end_s) for d in localize(video(probs), CONTRAST))
    assert [one[0] for one in there] == [one[0] for one in here]
    np.testing.assert_allclose([one[1] for one in there], [one[1] for one in here], rtol=1e-6)


@quick
@given(
    seed=st.integers(0, 2**16),
    length=st.integers(1, 30),
    shift=st.integers(0, 50),
    step=st.sampled_from([Fraction(1), Fraction(16, 25), Fraction(2)]),
)
def test_time_shifts_and_stretches(seed: int, length: int, shift: int, step: Fraction) -> None:
    probs = noise(seed, length)
    here = localize(video(probs), CONTRAST)
    there = localize(video(probs, step, shift), CONTRAST)
    moved = [(d.label, shift + float(step) * d.start_s, shift + float(step) * d.end_s, d.score) for d in here]
    assert len(there) == len(moved)
    for d, (label, start, end, score) in zip(there, moved, strict=True):
        assert d.label == label
        assert (d.start_s, d.end_s, d.score) == pytest.approx((start, end, score), rel=1e-6, abs=1e-6)


@quick
@given(seed=st.integers(0, 2**16), length=st.integers(2, 30))
def test_time_runs_backwards_as_well(seed: int, length: int) -> None:
    probs = noise(seed, length, 1)
    options = with_contrast(max_per_class=1, min_probability=0.0)
    here, there = localize(video(probs), options)[0], localize(video(probs[::-1]), options)[0]
    assert there.score == pytest.approx(here.score, abs=1e-6)


def test_the_gate_keeps_a_share_of_the_best_and_a_few_in_any_case() -> None:
    scores = np.array([0.05, 0.8, 0.1, 0.02])
    assert select_classes(scores, 0.1, 1).tolist() == [1, 2]
    assert select_classes(scores, 0.5, 2).tolist() == [1, 2]
    assert select_classes(scores, 0.5, 9).tolist() == [0, 1, 2, 3]
    assert select_classes(np.zeros(3), 0.1, 1).tolist() == [0, 1, 2]


def test_calibration_is_monotone_and_platt_s() -> None:
    x = np.linspace(0, 1, 101)
    y = calibrated(x, 1.9, 0.3)
    assert (np.diff(y) > 0).all()
    assert np.isfinite(y).all()
    assert 0 <= y[0] < 1e-9
    assert 1 - 1e-9 < y[-1] <= 1
    assert y[50] == pytest.approx(1 / (1 + math.exp(-0.3)))
    assert y[80] == pytest.approx(1 / (1 + math.exp(-(1.9 * math.log(4) + 0.3))))
    assert logistic(np.array([-1000.0, 0.0, 1000.0])).tolist() == [0, 0.5, 1]


def test_a_better_contrast_scores_higher() -> None:
    found = []
    for high, low in itertools.product((0.9, 0.6), (0.05, 0.3)):
        probs = np.full((20, 1), low)
        probs[8:14] = high
        found.append(best(localize(video(probs), CONTRAST)).score)
    assert found[0] > found[2] > found[3]
    assert found[0] > found[1] > found[3]


def test_filters_apply_and_what_overlaps_cannot_be_merged() -> None:
    probs = np.full((30, 1), 0.02)
    probs[4:9] = probs[12:17] = 0.9
    every = localize(video(probs), CONTRAST)
    assert localize(video(probs), LocalizeConfig(decode="contrast", min_score=0.5)) == tuple(
        d for d in every if d.score >= 0.5
    )
    assert localize(video(probs), LocalizeConfig(decode="contrast", min_score=1.1)) == ()
    assert all(d.end_s - d.start_s >= 6 for d in localize(video(probs), LocalizeConfig(min_duration_s=6)))
    with pytest.raises(ConfigError, match="merge_gap_s needs"):
        preset("default", {"localize.merge_gap_s": 1.0})


def test_default_decodes_so_and_the_paper_s_preset_does_not() -> None:
    assert preset("default").localize.decode == "contrast"
    assert preset("paper").localize.decode == "actions"
    assert preset("ave").localize.decode == "events"
