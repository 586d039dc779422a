"""Training on corrections, starting from another run, and which videos to correct next."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float

import avloc
from avloc.cli import main
from avloc.config import preset
from avloc.errors import ConfigError, InputError
from avloc.formats.corrections import Point, VideoCorrections, write_corrections
from avloc.formats.features import save_features
from avloc.formats.labels import LabelRow, LabelTable, write_labels
from avloc.model.checkpoint import load_model
from avloc.pipeline.suggest import entropy, farthest_first, rank
from avloc.train.loop import fit
from avloc.train.plan import plan
from avloc.train.record import read_record
from avloc.train.resume import train
from avloc.train.warm import continued
from avloc.types import ActivationSequence, Instance, SnippetGrid, VideoAnnotation
from benchmarks.console import run_command
from benchmarks.quality.__main__ import MODULES
from benchmarks.quality.teaching import noisy
from feature_sets import make_videos, write_set, write_split_set

SMALL = {
    "model.embed_dim": 16,
    "train.steps": 20,
    "train.batch_size": 8,
    "train.learning_rate": 3e-3,
    "train.eval_every": 10,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Eighteen training videos and six test videos."""
    folder = tmp_path_factory.mktemp("set")
    videos = make_videos()
    features, labels = write_set(folder, videos)
    rows = [(f.video_id, tuple(i.label for i in t.instances), t) for f, t in videos]
    subsets = ["train"] * 18 + ["test"] * 6
    table = LabelTable(tuple(LabelRow(name, own, s) for (name, own, _), s in zip(rows, subsets, strict=True)))
    write_labels(labels, table)
    return features, labels


@pytest.fixture(scope="module")
def run(data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    fit(*data, out, preset("default", SMALL))
    return out


def truths() -> list[VideoAnnotation]:
    return [truth for _, truth in make_videos()]


def checked(truth: VideoAnnotation, **changes: object) -> VideoCorrections:
    one = VideoCorrections(truth.video_id, truth.duration_s, truth.instances, checked=True)
    return replace(one, **changes)  # type: ignore[arg-type]


def write(folder: Path, *videos: VideoCorrections) -> list[Path]:
    write_corrections(folder / "corrections.json", videos)
    return [folder / "corrections.json"]


def test_labels_follow_from_corrections_and_corrected_videos_are_not_held_out(
    tmp_path: Path, data: tuple[Path, Path]
) -> None:
    first, second, *others = truths()[:18]
    files = write(
        tmp_path,
        checked(first, present=()),
        checked(second, present=(Instance(1.0, 2.0, "howl"),), checked=False),
        *map(checked, others),
    )
    _, found = plan(*data, preset("default"), files)
    assert len(found.validation) == 0
    assert found.train.classes == ("bark", "drum", "howl", "saw")
    assert found.train.labels[:2].tolist() == [[0, 0, 0, 0], [0, 1, 1, 0]]
    said = " ".join(found.notes)
    assert "corrections change the labels of 2 videos: video_000 (-bark), video_001 (+howl)" in said
    assert "1 new class from corrections: howl" in said
    batch = found.train.batch(np.arange(2))
    assert batch.truth is not None
    assert batch.truth[0].sum() == found.train.features(0).grid.count
    assert batch.truth[1].sum() == 1


def test_sampled_snippets_keep_their_truth(tmp_path: Path, data: tuple[Path, Path]) -> None:
    _, found = plan(*data, preset("default", {"train.holdout": 0}), write(tmp_path, checked(truths()[3])))
    batch = found.train.batch(np.array([3, 4]), 5, (1,))
    features = found.train.features(3)
    assert batch.truth is not None
    assert features.audio is not None
    for row, known in zip(batch.audio[0].numpy(), batch.truth[0].numpy(), strict=True):
        index = int(np.abs(features.audio - row).sum(axis=1).argmin())
        instance = truths()[3].instances[0]
        inside = instance.start_s <= index < instance.end_s
        assert known[0] == (not inside)
        assert known[1:].sum() == inside
    assert not batch.truth[1].any()


def test_corrections_must_be_of_training_videos(tmp_path: Path, data: tuple[Path, Path]) -> None:
    train_video, test_video = checked(truths()[0]), checked(truths()[20])
    late = Instance(90.0, 95.0, "bark")
    for wrong, said in (
        (test_video, r"training videos, got video_020 \(test by its labels\); remove it"),
        (replace(train_video, subset="testing"), r"video_000 \(testing by the corrections, train by its labels\)"),
        (replace(train_video, video_id="vidoe_000"), r"1 corrected video without labels: vidoe_000 \(did you mean"),
        (replace(train_video, present=(Instance(1.0, 2.0, "Background"),)), "'Background' is not a class"),
        (replace(train_video, present=(late,)), r"video_000: 'bark' at 90 s is beyond the end"),
        (replace(train_video, points=(Point(90.0, "bark"),), checked=False), r"beyond the end of the video"),
    ):
        with pytest.raises(InputError, match=said):
            plan(*data, preset("default"), write(tmp_path, wrong))
    over = Instance(1.0, 90.0, "bark")
    _, found = plan(*data, preset("default"), write(tmp_path, replace(train_video, present=(over,))))
    assert any("video_000 end after the video" in note and "cut to it" in note for note in found.notes)


def test_a_corrected_video_without_features_is_named(tmp_path: Path, data: tuple[Path, Path]) -> None:
    features, labels = data
    text = labels.read_text(encoding="utf-8") + "missing,bark,train\n"
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    gone = VideoCorrections("missing", 5.0, (Instance(1.0, 2.0, "bark"),))
    _, found = plan(features, tmp_path / "labels.csv", preset("default"), write(tmp_path, gone))
    assert "missing is corrected but has no features, left out" in found.notes


def test_corrections_move_the_boundaries(tmp_path: Path) -> None:
    """Wrong labels at first: every video is said to hold both classes; eight corrections tell them apart."""
    videos = make_videos(count=20, classes=("bark", "drum"), noise=0.2)
    features, labels = write_set(tmp_path, videos)
    rows = [LabelRow(f.video_id, ("bark", "drum"), "train") for f, _ in videos]
    write_labels(labels, LabelTable(tuple(rows)))
    settings = preset("default", {**SMALL, "train.steps": 40, "train.holdout": 0})
    fit(features, labels, tmp_path / "weak", settings)
    files = write(tmp_path, *(checked(truth) for _, truth in videos[:8]))
    told = continued(tmp_path / "weak", {"train.steps": 40})
    record = fit(features, labels, tmp_path / "told", told, corrections=files)
    assert record.corrected_videos == tuple(f.video_id for f, _ in videos[:8])
    assert read_record(tmp_path / "told").corrections == (str(files[0]),)
    right = []
    for name in ("weak", "told"):
        localizer = avloc.load(tmp_path / name)
        hits = []
        for features_of, truth in videos[12:]:
            seen = localizer.activations(features_of)
            inside = [any(i.start_s <= t < i.end_s for i in truth.instances) for t in seen.grid.centres_s()]
            wanted = np.where(inside, 1 + seen.classes.index(truth.instances[0].label), 0)
            hits.append((seen.probs.argmax(axis=1) == wanted).mean())
        right.append(float(np.mean(hits)))
    assert right[1] > 0.9
    assert right[1] > right[0] + 0.2


def test_a_warm_start_has_the_weights_of_the_run(tmp_path: Path, data: tuple[Path, Path], run: Path) -> None:
    """One step with a tiny rate: everything as it was, a new class has a row of its own."""
    howl = checked(truths()[2], present=(Instance(1.0, 4.0, "howl"),), checked=False)
    still = continued(run, {"train.steps": 1, "train.learning_rate": 1e-12, "train.weight_decay": 0.0})
    fit(*data, tmp_path / "warm", still, corrections=write(tmp_path, howl))
    (before, old), (after, new) = load_model(run), load_model(tmp_path / "warm")
    assert new.classes == ("bark", "drum", "howl", "saw")
    given, taken = before.state_dict(), after.state_dict()
    rows = [new.classes.index(name) for name in old.classes]
    for name in given:
        kept = taken[name][rows] if name.startswith("action_head") else taken[name]
        assert torch.allclose(kept, given[name], atol=1e-6), name


def test_a_run_that_does_not_fit_is_refused_in_a_line(tmp_path: Path, data: tuple[Path, Path], run: Path) -> None:
    features, labels = data
    with pytest.raises(ConfigError, match=r"weights do not fit: model\.embed_dim is 32, there 16"):
        fit(features, labels, tmp_path / "a", preset("default", {**SMALL, "model.embed_dim": 32} | start(run)))
    with pytest.raises(InputError, match="cannot start from itself"):
        train(features, labels, run, continued(run), overwrite=True)
    with pytest.raises(InputError, match="run folder"):
        continued(tmp_path / "nowhere")
    for video, _ in make_videos(sizes=(6, 9)):
        source = replace(video.source, backbones={"audio": "made", "visual": "other"})
        save_features(tmp_path / "features" / f"{video.video_id}.safetensors", replace(video, source=source))
    with pytest.raises(ConfigError, match="visual features are other 1, there made 1; visual channels are 9, there 8"):
        fit(tmp_path / "features", labels, tmp_path / "b", continued(run))


def start(run: Path) -> dict[str, object]:
    return {"train.init_from": str(run)}


def test_a_finished_run_knows_its_corrections(tmp_path: Path, data: tuple[Path, Path], run: Path) -> None:
    files = write(tmp_path, checked(truths()[0]))
    settings = continued(run, {"train.steps": 2})
    assert train(*data, tmp_path / "run", settings, corrections=files).trained
    assert not train(*data, tmp_path / "run", settings, corrections=files).trained
    assert not train(*data, tmp_path / "run", settings, corrections=str(files[0])).trained
    assert train(*data, tmp_path / "run2", settings).trained
    with pytest.raises(InputError, match=r"other data \(corrections\)"):
        train(*data, tmp_path / "run", settings)
    with pytest.raises(InputError, match=r"other data \(weights at the start\)"):
        train(
            *data,
            tmp_path / "run",
            continued(tmp_path / "run2", {"train.steps": 2, "train.eval_every": 5}),
            corrections=files,
        )
    write(tmp_path, checked(truths()[0]), checked(truths()[1]))
    with pytest.raises(InputError, match=r"other data \(.*corrections"):
        train(*data, tmp_path / "run", settings, corrections=files)


def activations(name: str, probs: Float[np.ndarray, "l c1"]) -> ActivationSequence:
    grid = SnippetGrid.cover(len(probs), 1)
    return ActivationSequence(name, float(len(probs)), grid, ("a", "b"), probs, np.array([0.5, 0.5]))


def test_videos_unlike_the_others_come_first_with_the_times_to_look_at() -> None:
    sure = np.tile([1.0, 0.0, 0.0], (6, 1))
    torn = sure.copy()
    torn[2:4] = 1 / 3
    assert entropy(activations("x", torn)).tolist() == pytest.approx([0, 0, 1, 1, 0, 0], abs=1e-9)
    every = [activations("sure", sure), activations("too", sure), activations("torn", torn)]
    first, second, third = rank(every)
    assert (first.video_id, second.video_id, third.video_id) == ("torn", "sure", "too")
    assert [(s.start_s, s.end_s) for s in first.spans] == [(2.0, 4.0)]
    assert third.score == 0
    assert [one.video_id for one in rank(every, 1, [activations("checked", torn)])] == ["sure"]
    assert rank([]) == ()


def test_farthest_first_is_the_plain_loop() -> None:
    points = np.random.default_rng(0).normal(size=(30, 3))
    taken = [4, 17]
    order, distances = farthest_first(points, np.array(taken), 10)
    for k, distance in zip(order.tolist(), distances.tolist(), strict=True):
        nearest = [min(float(np.linalg.norm(p - points[t])) for t in taken) for p in points]
        assert distance == pytest.approx(max(nearest))
        assert nearest[k] == pytest.approx(distance)
        taken.append(k)
    assert len(farthest_first(points, np.array(taken), 100)[0]) == 18


def test_suggestions_are_training_videos_that_are_not_checked(
    tmp_path: Path, data: tuple[Path, Path], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write(tmp_path, *map(checked, truths()[:15]), checked(truths()[15], checked=False))
    found = avloc.load(run).suggest([data[0]], corrections=files)
    assert {video.video_id for video in found.videos} == {"video_015", "video_016", "video_017"}
    assert any("15 videos checked already" in note for note in found.notes)
    out = tmp_path / "suggest.csv"
    arguments = [str(run), str(data[0]), "-n", "2", "--corrections", str(files[0]), "-o", str(out), "--json"]
    assert call("suggest", *arguments) == 0
    listed = json.loads(capsys.readouterr().out)["videos"]
    assert [one["video"] for one in listed] == [one.video_id for one in found.videos[:2]]
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert [row["video"] for row in rows if row["rank"] == "1"] == [listed[0]["video"]] * len(listed[0]["spans"])
    with pytest.raises(InputError, match="nothing is left to correct"):
        avloc.load(run).suggest([data[0]], corrections=write(tmp_path, *map(checked, truths()[:18])))


def call(*arguments: str) -> int:
    before, sys.argv = sys.argv, ["avloc", *arguments]
    try:
        main()
    except SystemExit as error:
        return int(error.code or 0)
    finally:
        sys.argv = before
    return 0


def test_the_commands_teach(
    tmp_path: Path, data: tuple[Path, Path], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write(tmp_path, checked(truths()[0]))
    common = ["train", "--features", str(data[0]), "--labels", str(data[1]), "--init-from", str(run)]
    out = tmp_path / "told"
    assert call(*common, "--corrections", str(files[0]), "-o", str(out), "--set", "train.steps=2") == 0
    assert "(1 corrected)" in capsys.readouterr().out
    assert read_record(out).config["train"]["init_from"] == str(run)
    write(tmp_path, checked(truths()[20]))
    assert call(*common, "--corrections", str(files[0]), "-o", str(tmp_path / "never")) == 2
    assert "video_020" in capsys.readouterr().err
    assert not (tmp_path / "never" / "record.json").exists()


def test_the_benchmark_measures_random_and_suggested_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_split_set(tmp_path / "little", count=24, tests=8)
    command = ["teach", "--sets", str(tmp_path / "little"), "-o", str(tmp_path / "out"), "--shares", "0", "0.2", "1"]
    command += ["--seeds", "1", "--set", "train.steps=4", "--set", "model.embed_dim=8", "--set", "train.eval_every=2"]
    run_command("benchmarks.quality", MODULES, [*command, "--figure", str(tmp_path / "teach.png")])
    assert (tmp_path / "teach.png").stat().st_size > 10_000
    rows = list(csv.DictReader((tmp_path / "out" / "teach.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["curve"], row["share"], row["videos"]) for row in rows][:4] == [
        ("random", "0", "0"),
        ("random", "0.2", "3"),
        ("random", "1", "16"),
        ("suggested", "0", "0"),
    ]
    assert rows[2]["average mAP"] == rows[5]["average mAP"]  # all videos, in whatever order
    before = capsys.readouterr().out
    run_command("benchmarks.quality", MODULES, [*command, "--report-only"])
    assert capsys.readouterr().out.strip() in before


def test_noisy_corrections_are_half_a_second_off_and_some_have_a_wrong_class() -> None:
    rng = np.random.default_rng(0)
    truth = VideoAnnotation("a", 4000.0, "training", tuple(Instance(k * 4.0, k * 4 + 2.0, "bark") for k in range(900)))
    found = noisy(truth, ("bark", "drum"), rng).instances
    off = np.array([[a.start_s - b.start_s, a.end_s - b.end_s] for a, b in zip(found, truth.instances, strict=True)])
    assert set(np.abs(off[1:]).ravel().round(6)) == {0.5}
    assert 0.03 < np.mean([i.label == "drum" for i in found]) < 0.07
