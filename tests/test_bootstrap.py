"""The bootstrap over videos: against scoring every draw anew, and on known differences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from avloc.cli.app import app
from avloc.errors import InputError
from avloc.evaluate.compare import compare_files
from avloc.evaluate.detection import evaluate_files
from avloc.formats.activations import save_activations
from avloc.formats.annotations import write_annotations
from avloc.formats.detections import write_segments_json
from avloc.metrics import (
    SegmentTable,
    detection_scores,
    draw_videos,
    paired_difference,
    resampled_mean_ap,
    resampled_ratio,
)
from avloc.types import ActivationSequence, Detection, Instance, SnippetGrid, VideoAnnotation

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


def written(folder: Path) -> tuple[Path, Path, Path]:
    """A result, a worse one without one of the videos, and the ground truth."""
    found, truth = made(2, 30)
    worse = {
        video: tuple(Detection(d.start_s + 3, d.end_s + 3, d.label, d.score) for d in detections)
        for video, detections in found.items()
        if video != "v7"
    }
    write_segments_json(folder / "a.json", found)
    write_segments_json(folder / "b.json", worse)
    other = VideoAnnotation("not in them", 9.0, "training", (Instance(0, 1, "a"),))
    write_annotations(folder / "truth.json", [*truth, other])
    return folder / "a.json", folder / "b.json", folder / "truth.json"


def test_two_files_are_compared_as_they_are_evaluated(tmp_path: Path) -> None:
    a, b, truth = written(tmp_path)
    result = compare_files(a, b, truth, draws=300)
    assert result.videos == 30
    choice = "scored subset 'testing' (30 videos), which holds the detections' videos; choose others with --subset"
    assert choice in result.notes
    assert any("b.json: 1 of 30 scored videos are not in the detections" in note for note in result.notes)
    for path, scores in ((a, result.first), (b, result.second)):
        expected = evaluate_files(path, truth, "testing").scores
        assert scores["average mAP"] == pytest.approx(expected.average_mean_ap)
        assert scores["mAP@0.50"] == pytest.approx(expected.at(0.5))
    gap = result.differences["average mAP"]
    assert gap.observed == pytest.approx(result.first["average mAP"] - result.second["average mAP"])
    assert gap.real
    assert not compare_files(a, a, truth, draws=100).differences["average mAP"].real
    assert "accuracy" not in result.first


def test_accuracy_is_compared_where_both_have_activations(tmp_path: Path) -> None:
    a, b, truth = written(tmp_path)
    for path in (a, b):
        folder = tmp_path / path.stem
        folder.mkdir()
        (folder / "segments.json").write_bytes(path.read_bytes())
        for k in range(30):
            grid = SnippetGrid.cover(60, 1)
            probs = np.zeros((60, 4))
            probs[:, 0 if path is a else 1] = 1  # mostly background: a is right
            seen = ActivationSequence(f"v{k}", 60.0, grid, ("a", "b", "c"), probs, np.zeros(3))
            (folder / "scores").mkdir(exist_ok=True)
            save_activations(folder / "scores" / f"v{k}.safetensors", seen)
    result = compare_files(tmp_path / "a", tmp_path / "b", truth, draws=100)
    expected = evaluate_files(tmp_path / "a", truth, "testing").snippets
    assert expected is not None
    assert result.first["accuracy"] == pytest.approx(expected.snippets.accuracy)
    assert result.differences["accuracy"].real


def test_the_command_says_it_in_words(tmp_path: Path) -> None:
    a, b, truth = written(tmp_path)
    command = ["compare", str(a), str(b), str(truth), "--draws", "200", "-o", str(tmp_path / "gap.json")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "yes" in done.output
    facts = json.loads((tmp_path / "gap.json").read_text(encoding="utf-8"))
    assert facts["first_minus_second"]["average mAP"]["low"] > 0
    elsewhere = {"elsewhere": (Detection(0, 1, "a", 1.0),)}
    write_segments_json(b, elsewhere)
    with pytest.raises(InputError, match="no video in common"):
        compare_files(a, b, truth)


def random_result(truth: list[VideoAnnotation], right: float, rng: np.random.Generator) -> SegmentTable:
    """A detection per instance, with the correct class in a share `right` beyond chance, and four more per video."""
    rows = []
    for video in truth:
        for instance in video.instances:
            start, end = instance.start_s, instance.end_s
            start, end = np.maximum([start, end] + 0.25 * (end - start) * rng.normal(size=2), 0)
            hit = rng.random() < right
            label = instance.label if hit else "abcdefgh"[rng.integers(8)]
            rows.append((video.video_id, label, start, max(end, start + 0.5), rng.random() + 0.3 * hit))
        for start in rng.uniform(0, 35, 4):
            rows.append((video.video_id, "abcdefgh"[rng.integers(8)], start, start + rng.uniform(2, 10), rng.random()))
    video_ids, labels, *numbers = zip(*rows, strict=True)
    return SegmentTable.from_columns(video_ids, labels, *map(np.array, numbers))


@pytest.mark.slow
@pytest.mark.parametrize("right", [0.07, 0.3])
def test_equal_methods_are_called_different_about_as_often_as_promised(right: float) -> None:
    """Nominal level 5 %; 200 pairs of equal methods, each on its own 80 videos."""
    called = 0
    for k in range(200):
        rng = np.random.default_rng(k)
        truth = [
            VideoAnnotation(
                f"v{i}",
                45.0,
                "testing",
                tuple(
                    Instance(s, s + rng.uniform(2, 10), "abcdefgh"[rng.integers(8)])
                    for s in rng.uniform(0, 30, rng.integers(1, 5)).tolist()
                ),
            )
            for i in range(80)
        ]
        times = draw_videos(80, 400, k)
        names = [t.video_id for t in truth]
        first, second = (
            resampled_mean_ap(random_result(truth, right, rng), truth, names, times).mean(axis=1) for _ in "ab"
        )
        called += paired_difference(first[None], second[None]).real
    assert 1 <= called <= 20


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
