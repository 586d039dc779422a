"""The decoder's constants are chosen on training videos, by models that were not trained on them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from avloc.config import preset
from avloc.formats.labels import read_labels
from avloc.localize import localize
from avloc.localize.contrast import logistic
from avloc.types import ActivationSequence, Detection, Instance, SnippetGrid, VideoAnnotation
from benchmarks.console import run_command
from benchmarks.quality.__main__ import MODULES
from benchmarks.quality.folds import Condition, few_clips, out_of_fold
from benchmarks.quality.scores import Judged, fit, found_classes, out_of_sample, quality
from benchmarks.quality.sets import held_out, open_set
from benchmarks.quality.whole_video import Form, forms
from feature_sets import write_split_set

SMALL = {"model.embed_dim": 8, "train.steps": 2, "train.learning_rate": 1e-3, "train.batch_size": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("little")
    write_split_set(home, count=24, tests=8, column="split")
    return home


@pytest.mark.parametrize("alike", [False, True])
def test_every_training_video_is_in_one_fold_and_no_test_video_in_any(
    folder: Path, tmp_path: Path, alike: bool
) -> None:
    data = open_set(folder, tmp_path)
    parts = [read_labels(held_out(data, tmp_path, 4, fold, alike).labels) for fold in range(4)]
    tested = [{row.video_id for row in part.subset("test")} for part in parts]
    train = {row.video_id for row in read_labels(data.labels).subset("train")}
    assert set.union(*tested) == train
    assert sum(map(len, tested)) == len(train)
    assert max(map(len, tested)) - min(map(len, tested)) <= 1
    for part, held in zip(parts, tested, strict=True):
        assert {row.video_id for row in part.subset("train")} == train - held


def test_folds_of_videos_alike_have_all_classes_and_stay_within_a_range(folder: Path, tmp_path: Path) -> None:
    data = open_set(folder, tmp_path)
    classes = set(read_labels(data.labels).classes)
    for fold in range(2):
        part = read_labels(held_out(data, tmp_path, 2, fold, True).labels)
        assert {label for row in part.subset("test") for label in row.labels} == classes
    mixed, alike = (held_out(data, tmp_path, 2, 0, kind).fingerprint for kind in (False, True))
    assert mixed != alike


def test_the_command_fits_on_training_videos_and_keeps_its_models(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["calibration", "--sets", str(folder), "-o", str(tmp_path), "--seeds", "1", "--folds", "2"]
    command += ["--embed-dim", "8", "--steps", "2", "--set", "train.batch_size=6", "--kinds", "alike"]
    run_command("benchmarks.quality", MODULES, [*command, "--parts", "scores"])
    first = capsys.readouterr().out
    assert re.search(r"calibration_slope -?\d+\.\d+, calibration_offset -?\d+\.\d+", first)
    assert len(list((tmp_path / "runs").iterdir())) == 2
    run_command("benchmarks.quality", MODULES, [*command, "--parts", "scores"])
    assert capsys.readouterr().out == first
    run_command("benchmarks.quality", MODULES, [*command, "--parts", "test"])
    assert "former rule" in capsys.readouterr().out
    assert len(list((tmp_path / "runs").iterdir())) == 3


def test_activations_come_from_models_that_did_not_see_the_video(folder: Path, tmp_path: Path) -> None:
    found = out_of_fold(folder, tmp_path, SMALL, 1, 2, False)
    train = {row.video_id for row in read_labels(open_set(folder, tmp_path).labels).subset("train")}
    assert set(found.seeds[0]) == train
    for labels in (tmp_path / "sets").glob("*/labels.csv"):
        rows = read_labels(labels)
        assert not {row.video_id for row in rows.subset("train")} & {row.video_id for row in rows.subset("test")}


def test_models_of_few_clips_are_measured_on_all_other_folds(folder: Path, tmp_path: Path) -> None:
    found = few_clips(folder, tmp_path, 1, 2, SMALL)
    train = {row.video_id for row in read_labels(open_set(folder, tmp_path).labels).subset("train")}
    assert set(found.seeds[0]) == train
    drawn = [read_labels(path).subset("train") for path in (tmp_path / "sets").glob("*-1-?/labels.csv")]
    assert len(drawn) == 2
    assert all(len(rows) < len(train) / 2 for rows in drawn)


def test_a_relative_fall_counts_in_shares_of_the_peak() -> None:
    own, form = preset("default").localize.contrast, Form("relative", 8.0, value=1.0)
    curve = np.array([[0.4] * 4 + [0.1] * 4])
    assert form(curve, own) == pytest.approx(form(curve / 2, own) * 2)
    assert form(np.full((1, 8), 0.4), own) == pytest.approx([0.4])


def test_agreement_by_hand() -> None:
    """8 s: a class in 1 s to 5 s (partial) and one throughout (full); the strongest detection of each counts."""
    truth = VideoAnnotation(
        "v", 8.0, "train", (Instance(1.0, 5.0, "a"), Instance(0.0, 4.0, "b"), Instance(4.0, 8.0, "b"))
    )
    one = Condition("x", (truth,), ({},))
    assert one.pairs == [(truth, "a"), (truth, "b")]
    assert one.full.tolist() == [False, True]
    found = {"v": (Detection(1.0, 3.0, "a", 0.9), Detection(1.0, 5.0, "a", 0.8), Detection(0.0, 8.0, "b", 0.1))}
    assert one.agreement([found, {}]).tolist() == [[0.5, 0.5], [0.0, 0.0]]


def test_the_fit_recovers_the_constants_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    made = [made_up(rng, 40_000, 1.4, -2.0), made_up(rng, 20_000, 1.4, -2.0)]
    assert fit(made) == pytest.approx((1.4, -2.0), abs=0.05)
    assert quality(made[0], 1.4, -2.0)["error"] < 0.01
    assert quality(made[0], 1.4, 0.0)["error"] > 0.1
    odd = {"a": made[0], "b": made_up(rng, 20_000, 1.4, 0.0)}
    left_out = out_of_sample(odd, draws=2)["b"]
    assert left_out["fixed"]["log loss"] > quality(odd["b"], 1.4, 0.0)["log loss"]
    assert set(left_out) == {"fixed", "shifted", "shifted, a tenth"}


def made_up(rng: np.random.Generator, count: int, slope: float, offset: float) -> Judged:
    """Detections that are right with probability logistic(slope logit(score) + offset)."""
    score = rng.uniform(0.05, 0.95, count)
    right = rng.random(count) < logistic(slope * np.log(score / (1 - score)) + offset)
    videos = count // 4
    return Judged(score, right, score[: 4 * videos].reshape(1, videos, 4), right[: 4 * videos].reshape(videos, 4))


def test_precision_and_recall_of_classes_by_hand() -> None:
    strongest = np.array([[[0.9, 0.35], [0.0, 0.6]]])
    one = Judged(np.array([0.9]), np.array([True]), strongest, np.array([[True, False], [True, True]]))
    found = found_classes(one, 1.0, 0.0)
    assert found[0.3] == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert found[0.5] == pytest.approx((1.0, 2 / 3, 0.8))


def test_the_decoder_is_one_of_the_forms_that_were_compared() -> None:
    options = preset("default").localize
    own = options.contrast
    (same,) = (f for f in forms() if f == Form("drop", own.short_video_bonus, "min", own.full_video_drop))
    rng = np.random.default_rng(1)
    for length in (4, 10, 40):
        raw = rng.random((length, 4)) ** 3
        probs = raw / raw.sum(axis=1, keepdims=True)
        seen = ActivationSequence(
            "v", length, SnippetGrid.cover(length, 1), ("a", "b", "c"), probs, probs[:, 1:].max(0)
        )
        there = {(d.label, d.start_s, d.end_s): d.score for d in same.decode(seen, options)}
        here = {(d.label, d.start_s, d.end_s): d.score for d in localize(seen, options)}
        assert there == pytest.approx(here, rel=1e-9)
    assert len({form.name for form in forms()}) == len(list(forms()))
