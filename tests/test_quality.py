"""The quality benchmarks on small sets: training, reuse of runs, tables, collapse."""

from __future__ import annotations

import argparse
import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avloc.config import LocalizeConfig, preset
from avloc.formats.features import FeatureStore, load_features
from avloc.formats.labels import LabelRow, read_labels
from avloc.metrics import detection_scores
from benchmarks.console import run_command
from benchmarks.quality import comparison, curve, models
from benchmarks.quality.__main__ import MODULES
from benchmarks.quality.models import METHODS, Answer, Model, config_of
from benchmarks.quality.report import differences, markdown, missing_modalities, scores_of
from benchmarks.quality.sets import made, open_set
from feature_sets import write_split_set

SMALL = {"model.embed_dim": 8, "train.steps": 4, "train.learning_rate": 1e-3, "train.batch_size": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("little")
    write_split_set(home, count=24, tests=8, column="split")
    return home


def run(command: list[str]) -> None:
    run_command("benchmarks.quality", MODULES, command)


def cells(table: str) -> str:
    """A Markdown table without padding."""
    return re.sub(r" *\| *", "|", table)


def as_npz(folder: Path, target: Path) -> Path:
    """The same set with npz features."""
    (target / "features").mkdir(parents=True)
    store = FeatureStore(folder / "features")
    for video in store.ids:
        features = store.load(video)
        assert features.visual is not None
        assert features.audio is not None
        arrays = {"visual": features.visual.astype(np.float16), "audio": features.audio.astype(np.float16)}
        np.savez(target / "features" / f"{video}.npz", snippet_s=1.0, **arrays)
    for name in ("labels.csv", "ground_truth.json"):
        (target / name).write_bytes((folder / name).read_bytes())
    return target


def test_the_command_trains_once_and_says_what_is_better(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = as_npz(folder, tmp_path / "npz" / "little")
    out = tmp_path / "out"
    command = ["table", "--sets", str(sets), "-o", str(out), "--seeds", "2", "--steps", "4", "--embed-dim", "8"]
    command += ["--only", "whole video, true classes", "visual only", "default"]
    with pytest.raises(SystemExit, match="0"):
        run(command)
    first = capsys.readouterr().out
    assert "5 models to train or evaluate" in first
    assert len(list((out / "runs").iterdir())) == 4
    page = cells((out / "quality.md").read_text(encoding="utf-8"))
    assert "|whole video, true classes|" in page
    assert "|visual only|ours|" in page
    with (out / "quality.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    means = {(r["method"], r["decode"]): r for r in rows if r["metric"] == "average mAP"}
    assert set(means) == {
        ("whole video, true classes", ""),
        *((name, decode) for name in ("visual only", "default") for decode in ("paper's", "ours")),
    }
    ours, seen = means["default", "ours"], means["visual only", "ours"]
    assert float(seen["minus_default"]) == pytest.approx(float(seen["mean"]) - float(ours["mean"]), abs=1e-5)
    assert len(ours["values"].split()) == 2

    trained = {path: path.stat().st_mtime_ns for path in (out / "runs").glob("*/done.json")}
    with pytest.raises(SystemExit, match="0"):
        run(command)
    assert "0 models to train or evaluate" in capsys.readouterr().out
    assert trained == {path: path.stat().st_mtime_ns for path in (out / "runs").glob("*/done.json")}
    facts = json.loads((out / "quality.json").read_text(encoding="utf-8"))
    assert [line["method"] for line in facts["sets"]["little"]].count("default") == 2


def test_scores_are_those_of_the_written_segments(folder: Path, tmp_path: Path) -> None:
    data = open_set(folder, tmp_path)
    answer = Answer(data, None, None, tmp_path)
    models.work(None, [answer])
    facts = answer.facts
    assert facts is not None
    tests = data.tests()
    whole = {t.video_id: models.whole_video_detections([t])[t.video_id] for t in tests}
    assert facts["scores"]["average mAP"] == pytest.approx(detection_scores(whole, tests).average_mean_ap)
    assert answer.draws["average mAP"][0] == pytest.approx(facts["scores"]["average mAP"])
    assert answer.draws["accuracy"][0] == pytest.approx(facts["scores"]["accuracy"])
    assert facts["scores"]["foreground recall"] == 1.0  # one class per video, detected from start to end
    assert facts["scores"]["background recall"] == 0.0


def test_a_key_is_what_matters(folder: Path, tmp_path: Path) -> None:
    data = open_set(folder, tmp_path)

    def model(**changes: object) -> Model:
        settings = {**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}}
        return Model(data, config_of("default", {}, settings, 0), tmp_path)

    assert model().key == model(localize__min_snippets=5).key == model(train__accelerator="cpu").key
    assert model().key != model(loss__neighbors=2).key
    assert model().key != Model(data, config_of("default", {}, SMALL, 1), tmp_path).key
    one, other = (Answer(data, model(), LocalizeConfig(min_snippets=k), tmp_path).folder for k in (1, 2))
    assert one != other
    assert Answer(data, model(), LocalizeConfig(), tmp_path, "audio").folder not in (one, other)


def test_rivals_are_trained_with_the_same_care() -> None:
    ours = preset("default", SMALL)
    for name, (start, changes) in METHODS.items():
        config = config_of(start, changes, SMALL, 3)
        assert config.train.seed == 3
        assert (config.train.steps, config.train.learning_rate) == (4, 1e-3), name
        if not name.startswith("paper"):
            own = "standard" if name == "Tian et al." else ours.model.visual_normalize
            assert config.model.visual_normalize == own, name
            assert config.model.dropout == ours.model.dropout, name
    assert config_of(*METHODS["default"], {}, 0) == preset("default")
    assert config_of(*METHODS["paper, 2 stages"], {}, 0) == preset("paper", {"model.num_stages": 2})
    assert config_of(*METHODS["naive fusion"], {}, 0).loss.pseudo_weight == 0


def test_tracks_are_taken_away_where_it_is_said(folder: Path, tmp_path: Path) -> None:
    data = open_set(folder, tmp_path)
    rows = comparison.rows_of(data, 1, SMALL, tmp_path, [comparison.MISSING])
    gaps = FeatureStore(made(data, tmp_path, "gaps") / "features").describe()
    test = {truth.video_id for truth in data.tests()}
    lacking = {*gaps.without_audio, *gaps.without_visual}
    assert len(lacking) == round(0.3 * 16)
    assert not lacking & test
    removed = next(row for row in rows if row.name == "default, audio removed").answers[0]
    assert removed.without == "audio"
    features = load_features(data.features / "video_020.safetensors")
    left = models._without(features, "audio")
    assert left is not None
    assert left.modalities == ("visual",)
    assert models._without(left, "visual") is None


def test_what_a_missing_track_costs_is_a_share(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = comparison.rows_of(open_set(folder, tmp_path), 1, SMALL, tmp_path, [comparison.MISSING])
    values = {"default, audio removed": 0.18, "visual only": 0.2, "default, visual removed": 0.3, "audio only": 0.2}
    monkeypatch.setattr(
        "benchmarks.quality.report.scores_of",
        lambda row: {"average mAP": (values[row.name],)} if row.name in values else {},
    )
    assert [line[-1] for line in missing_modalities(rows)] == ["0.90", "1.50"]


def test_nothing_computed_is_an_empty_page(folder: Path, tmp_path: Path) -> None:
    rows = comparison.rows_of(open_set(folder, tmp_path), 1, SMALL, tmp_path, ["default"])
    assert [scores_of(row) for row in rows] == [{}, {}]
    assert differences(rows, rows[0]) == {}
    note = comparison.note_of(
        argparse.Namespace(seeds=1, embed_dim=8, steps=4, lr=1e-3, selection="preset", more=[]), {"a": rows}
    )
    assert markdown({"a": rows}, note).count("|") == 0


def test_a_collapse_is_seen_and_ends_badly(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["collapse", "--sets", str(folder), "-o", str(tmp_path), "--seeds", "1", "--steps", "2"]
    command += ["--embed-dim", "4", "--only", "default", "activitynet"]
    made = {"background recall": 0.6, "foreground recall": 0.3, "finite": 1.0}

    def work(model: Model, answers: list[Answer]) -> float:
        for answer in answers:
            answer.folder.mkdir(parents=True)
            (answer.folder / "facts.json").write_text(json.dumps({"scores": made}), encoding="utf-8")
        return 0.1

    monkeypatch.setattr("benchmarks.quality.run.work", work)
    with pytest.raises(SystemExit, match="0"):
        run(command)
    assert "1 model to" in capsys.readouterr().out  # at these sizes the two presets are the same run
    for wrong in ({"background recall": 0.049}, {"foreground recall": 0.0}, {"finite": 0.0}):
        for path in tmp_path.glob("answers/*/facts.json"):
            path.write_text(json.dumps({"scores": {**made, **wrong}}), encoding="utf-8")
        with pytest.raises(SystemExit, match="1"):
            run(command)
    assert "NaN" in capsys.readouterr().err


def test_a_draw_has_the_number_of_videos_of_every_class() -> None:
    names = ("a", "b", "c")
    rows = [LabelRow(f"v{k}", (names[k % 3],) if k % 5 else (), "train") for k in range(60)]
    for count in (1, 4):
        taken = curve.take(rows, count, draw=0)
        assert [sum(name in row.labels for row in taken) for name in names] == [count] * 3
        assert sum(not row.labels for row in taken) == round(3 * count / 4)  # 12 of 60 are background: 1 to 4
        assert len({row.video_id for row in taken}) == len(taken)
        assert taken == curve.take(rows, count, draw=0) != curve.take(rows, count, draw=1)
    both = [LabelRow("v", ("a", "b"), "train"), LabelRow("w", ("a",), "train"), LabelRow("x", ("b",), "train")]
    assert {len(curve.take(both, 1, draw)) for draw in range(9)} == {1, 2}  # v alone has both classes
    assert len(curve.take(rows, 1000, draw=0)) == 60  # as many as there are


def test_the_curve_trains_on_a_part_and_measures_on_the_whole_test(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["learning-curve", "--sets", str(folder), "-o", str(tmp_path), "--counts", "2", "all", "--draws", "2"]
    command += ["--seeds", "1", "--only", "auto", curve.WHOLE, "--set", "train.steps=4", "--set", "model.embed_dim=8"]
    with pytest.raises(SystemExit, match="0"):
        run(command)
    shown = capsys.readouterr().out
    assert "3 models to train or evaluate" in shown  # two draws and all; the whole videos take auto's
    assert "|average mAP, percent|2|all|" in cells(shown)
    with (tmp_path / "curve.csv").open(encoding="utf-8") as file:
        rows = [(row["run"].removeprefix(folder.name), row["training videos"]) for row in csv.DictReader(file)]
    assert rows[:3] == [(", auto, 2, 0", "6"), (", auto, 2, 1", "6"), (", auto, all, 0", "16")]
    data = curve.drawn(open_set(folder, tmp_path), tmp_path, 2, 0)
    assert [a.video_id for a in data.tests()] == [a.video_id for a in open_set(folder, tmp_path).tests()]
    assert len({row.video_id for row in read_labels(data.labels).rows}) == 6 + 8
    config = curve.config_on("auto", data, {}, 3)
    assert (config.model.embed_dim, config.train.steps, config.train.seed) == (256, 400, 3)
    chosen = {"loss.prior_weight": 1.0}  # the candidate that was chosen, and the prior; no words in such features
    assert config == curve.config_on("256, decay", data, chosen, 3)
    assert curve.config_on("default", data, {}, 0) == preset("default")
    naive = curve.config_on(curve.NAIVE, data, {}, 0)
    assert (naive.model.num_stages, naive.model.embed_dim) == (0, 256)
    with pytest.raises(SystemExit, match="0"):
        run([*command, "--report-only"])
    assert "models to train" not in capsys.readouterr().out


def test_alike_folds_measure_every_training_video_once_and_no_test_video(folder: Path, tmp_path: Path) -> None:
    given = ["--sets", str(folder), "-o", str(tmp_path), "--only", "auto", "--alike"]
    parser = argparse.ArgumentParser()
    curve.add_commands(parser.add_subparsers())
    args = parser.parse_args(["learning-curve", *given, "--counts", "all", "2", "--seeds", "5", "--draws", "1"])
    points = curve.curves_of(args, str(folder))["auto"]
    data = open_set(folder, tmp_path)
    train = {row.video_id for row in read_labels(data.labels).subset("train")}
    measured = [truth.video_id for answer in points[curve.ALL] for truth in answer.data.tests()]
    assert sorted(measured) == sorted(train)
    for answer in (*points[curve.ALL], *points["2"]):
        assert answer.model is not None
        own = {row.video_id for row in read_labels(answer.model.data.labels).subset("train")}
        assert own <= train - {truth.video_id for truth in answer.data.tests()}
    assert {answer.data.fingerprint for answer in points["2"]} == {points[curve.ALL][0].data.fingerprint}


def test_sets_of_one_name_do_not_share_what_is_made_of_them(folder: Path, tmp_path: Path) -> None:
    data = open_set(folder, tmp_path)
    other = replace(data, fingerprint="another")
    assert made(data, tmp_path, "gaps") != made(other, tmp_path, "gaps")
    assert curve.drawn(data, tmp_path, 1, 0).folder != curve.drawn(other, tmp_path, 1, 0).folder
