"""Training that is killed, runs out of disk, meets damaged files or is started twice (docs/reliability.md)."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import avloc
import killing
from avloc.config import RunConfig, preset
from avloc.errors import FormatError, InputError, StorageError, TrainingError
from avloc.model.batch import Batch
from avloc.model.checkpoint import load_model
from avloc.model.files import METRICS_FILE, MODEL_FILE, PREVIOUS_FILE, RECORD_FILE, STATE_FILE
from avloc.system.locks import LOCK_FILE
from avloc.train.dataset import WeakDataset
from avloc.train.learner import Learner
from avloc.train.loop import fit
from avloc.train.metrics_log import read_metrics
from avloc.train.record import read_record
from avloc.train.state import has_state, load_state, save_state
from feature_sets import make_videos, write_set

KILLED = -signal.SIGKILL
SMALL = {
    "model.embed_dim": 16,
    "train.steps": 20,
    "train.batch_size": 8,
    "train.learning_rate": 3e-3,
    "train.eval_every": 5,
}
Data = tuple[Path, Path]


def config(**changes: object) -> RunConfig:
    return preset("default", {**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return write_set(tmp_path_factory.mktemp("set"), make_videos())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Data) -> Path:
    """An undisturbed run."""
    out = tmp_path_factory.mktemp("whole")
    assert killing.run(train, *data, out) == 0
    return out


def train(features: Path, labels: Path, out: Path, **changes: object) -> None:
    fit(features, labels, out, config(**changes), resume=has_state(out))


def assert_same_run(one: Path, other: Path) -> None:
    """Bit for bit: weights, training state, metrics except step times, and predictions."""
    assert (one / MODEL_FILE).read_bytes() == (other / MODEL_FILE).read_bytes()
    assert_same(*(load_state(run / STATE_FILE) for run in (one, other)))
    rows = [read_metrics(run / METRICS_FILE) for run in (one, other)]
    rows += [list(read_record(run).history) for run in (one, other)]
    timeless = [[{k: v for k, v in row.items() if k != "train/step_s"} for row in of] for of in rows]
    assert timeless[1:] == timeless[:-1]
    video = make_videos(count=1, seed=5)[0][0]
    probs = [avloc.load(run).activations(video).probs for run in (one, other)]
    np.testing.assert_array_equal(*probs)
    assert {p.name for p in one.iterdir()} == {p.name for p in other.iterdir()}, "files are left over"


def assert_same(one: Any, other: Any) -> None:
    """Nested dicts of equal values, tensors bit for bit."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    else:
        assert one == other


def test_killed_again_and_again_at_writes_it_ends_the_same(tmp_path: Path, data: Data, whole: Path) -> None:
    died = 0
    for point in (5, 14, 7, 12, 8, 4, 9, 3):  # each run resumes the one before
        died += killing.run(train, *data, tmp_path, kill_at=point) == KILLED
    assert died >= 5
    assert killing.run(train, *data, tmp_path) == 0
    assert_same_run(tmp_path, whole)


@pytest.mark.slow
def test_killed_at_every_single_write_it_ends_the_same(tmp_path: Path, data: Data, whole: Path) -> None:
    count = killing.writes_of(train, *data, tmp_path / "probe")
    assert count > 25
    for point in range(1, count + 1):
        out = tmp_path / str(point)
        assert killing.run(train, *data, out, kill_at=point) == KILLED
        assert killing.run(train, *data, out) == 0
        assert_same_run(out, whole)


def kill_at_random_moments(tmp_path: Path, data: Data, whole: Path, count: int, seed: int) -> None:
    began = time.monotonic()
    assert killing.run(train, *data, tmp_path / "timed") == 0
    seconds = time.monotonic() - began
    moments = random.Random(seed)
    died = 0
    for trial in range(count):
        out = tmp_path / str(trial)
        died += killing.run(train, *data, out, kill_after_s=moments.uniform(0.1, 0.6) * seconds) == KILLED
        assert killing.run(train, *data, out) == 0
        assert_same_run(out, whole)
    assert died >= count // 2


def test_killed_at_random_moments_it_ends_the_same(tmp_path: Path, data: Data, whole: Path) -> None:
    kill_at_random_moments(tmp_path, data, whole, 2, seed=0)


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_ends_the_same(tmp_path: Path, data: Data, whole: Path) -> None:
    kill_at_random_moments(tmp_path, data, whole, 10, seed=1)


def interrupted(data: Data, out: Path, after: int = 12) -> None:
    """A run killed between its second checkpoint (step 10) and the third."""

    class Stop(Exception):
        pass

    def stop(step: int, steps: int, text: str) -> None:
        if step == after:
            raise Stop

    with pytest.raises(Stop):
        fit(*data, out, config(), progress=stop)


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = bytearray()
    else:
        content[{"first": 0, "line": 40, "middle": len(content) // 2, "last": len(content) - 1}[how]] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["first", "line", "middle", "last", "cut", "empty"])
def test_a_damaged_checkpoint_is_found_and_the_one_before_it_used(
    tmp_path: Path, data: Data, whole: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    interrupted(data, tmp_path)
    assert [load_state(tmp_path / name)["step"] for name in (STATE_FILE, PREVIOUS_FILE)] == [10, 5]
    damage(tmp_path / STATE_FILE, how)
    with caplog.at_level(logging.WARNING, logger="avloc.train"):
        train(*data, tmp_path)
    assert "state.pt" in caplog.text
    assert "checksum does not match" in caplog.text
    assert "resuming from the previous checkpoint, step 5" in caplog.text
    assert_same_run(tmp_path, whole)


def test_when_both_checkpoints_are_damaged_it_says_so_and_touches_nothing(tmp_path: Path, data: Data) -> None:
    interrupted(data, tmp_path)
    for name in (STATE_FILE, PREVIOUS_FILE):
        damage(tmp_path / name, "middle")
    before = {p.name: p.read_bytes() for p in tmp_path.glob("[!.]*") if p.is_file()}
    with pytest.raises(FormatError, match=r"state\.pt.*state\.previous\.pt.*start again with --overwrite"):
        train(*data, tmp_path)
    assert before == {p.name: p.read_bytes() for p in tmp_path.glob("[!.]*") if p.is_file()}


def test_no_damage_to_a_model_goes_unnoticed_and_resume_mends_it(tmp_path: Path, data: Data, whole: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    content = (whole / MODEL_FILE).read_bytes()
    for at in random.Random(0).sample(range(len(content)), 60):
        (out / MODEL_FILE).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises((FormatError, ValueError)):
            load_model(out)
    (out / MODEL_FILE).write_bytes(content)
    damage(out / MODEL_FILE, "last")
    with pytest.raises(FormatError, match=r"model\.safetensors: damaged.*--resume.*rewrites it"):
        avloc.load(out)
    train(*data, out)
    assert (out / MODEL_FILE).read_bytes() == content


def test_the_state_before_is_kept_and_no_third_one(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_state(tmp_path, {"step": step})
    assert {p.name for p in tmp_path.iterdir()} == {STATE_FILE, PREVIOUS_FILE}
    assert [load_state(tmp_path / name)["step"] for name in (PREVIOUS_FILE, STATE_FILE)] == [2, 3]


def test_a_run_started_anew_forgets_the_old_one_at_once(tmp_path: Path, data: Data, whole: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)

    def stop(step: int, steps: int, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(*data, tmp_path, config(train__seed=1), progress=stop)
    assert not {MODEL_FILE, STATE_FILE, PREVIOUS_FILE, RECORD_FILE} & {p.name for p in tmp_path.iterdir()}


def test_two_runs_in_one_folder_the_second_is_told_who_the_first_is(tmp_path: Path, data: Data) -> None:
    told: list[str] = []

    def second(step: int, steps: int, text: str) -> None:
        if not told:
            with pytest.raises(InputError) as caught:
                fit(*data, tmp_path, config())
            told.append(str(caught.value))

    fit(*data, tmp_path, config(), progress=second)
    assert f"{tmp_path}: in use by another avloc (process {os.getpid()} on " in told[0]
    assert "choose another -o" in told[0]
    fit(*data, tmp_path, config())  # the folder is free after the run


def test_a_dead_process_does_not_hold_the_folder(tmp_path: Path, data: Data) -> None:
    assert killing.run(train, *data, tmp_path, kill_at=6) == KILLED
    assert (tmp_path / LOCK_FILE).exists()
    assert list(tmp_path.glob(".*.part")), "killed in the middle of a write"
    train(*data, tmp_path)
    assert not list(tmp_path.glob(".*.part"))


def poison(monkeypatch: pytest.MonkeyPatch, video: str, from_step: int) -> None:
    """From a step on, make one video's audio features so large that their squares overflow."""
    real = WeakDataset.batch

    def batch(self: WeakDataset, indices: np.ndarray, *rest: Any) -> Batch:
        made = real(self, indices, *rest)
        if rest and rest[1][2] >= from_step and video in (ids := [self.ids[i] for i in indices]):
            made.audio[ids.index(video)] = 3e38
        return made

    monkeypatch.setattr(WeakDataset, "batch", batch)


def test_a_loss_that_is_no_number_stops_at_the_last_good_checkpoint_and_names_the_videos(
    tmp_path: Path, data: Data, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        poison(patch, "video_004", from_step=10)
        with pytest.raises(TrainingError, match=r"step 1\d: not finite: loss/") as caught:
            train(*data, tmp_path)
    message = str(caught.value)
    names = message.partition("Videos of the batch: ")[2].partition(";")[0].split(", ")
    assert len(names) == 8
    assert "video_004" in names
    assert "the model's output is not finite for video_004." in message
    assert f"the last good checkpoint is in {tmp_path}" in message
    assert load_state(tmp_path / STATE_FILE)["step"] == 10
    assert all(tensor.isfinite().all() for tensor in load_model(tmp_path)[0].state_dict().values())
    train(*data, tmp_path)  # with the video repaired
    assert_same_run(tmp_path, whole)


def test_weights_that_are_no_numbers_never_replace_a_checkpoint(
    tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Learner.update

    def update(self: Learner) -> None:
        real(self)
        updates.append(self)
        if len(updates) == 15:
            next(self.module.parameters()).data[0] = torch.inf

    updates: list[Learner] = []
    monkeypatch.setattr(Learner, "update", update)
    with pytest.raises(TrainingError, match=r"the weights of .* are not finite\. .*last good checkpoint"):
        train(*data, tmp_path)
    assert load_state(tmp_path / STATE_FILE)["step"] == 10


def starved(features: Path, labels: Path, out: Path) -> None:
    def starve(step: int, steps: int, text: str) -> None:
        if step == 7:
            killing.limit_file_size(10_000)

    with pytest.raises(StorageError, match=r"cannot write .*; free space and run the same command again"):
        fit(features, labels, out, config(), resume=has_state(out), progress=starve)


def test_a_file_that_cannot_grow_stops_the_run_and_the_checkpoint_stays(
    tmp_path: Path, data: Data, whole: Path
) -> None:
    assert killing.run(starved, *data, tmp_path) == 0
    assert load_state(tmp_path / STATE_FILE)["step"] == 5
    train(*data, tmp_path)
    assert_same_run(tmp_path, whole)


def test_a_feature_file_deleted_while_training_is_named_and_the_checkpoint_stays(
    tmp_path: Path, data: Data, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = tmp_path / "features", data[1]
    shutil.copytree(data[0], features)
    out = tmp_path / "run"
    real = WeakDataset.__init__
    monkeypatch.setattr(WeakDataset, "__init__", lambda self, *args, **more: real(self, *args, cache_bytes=0, **more))

    def delete(step: int, steps: int, text: str) -> None:
        if step == 6:
            (features / "video_003.safetensors").unlink()

    with pytest.raises(InputError, match=r"video_003\.safetensors: expected a feature file; it does not exist"):
        fit(features, labels, out, config(), progress=delete)
    assert load_state(out / STATE_FILE)["step"] >= 5
    shutil.copy(data[0] / "video_003.safetensors", features)
    fit(features, labels, out, config(), resume=True)
    assert_same_run(out, whole)


def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, data: Data, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, jumps = time.time, random.Random(0)
    monkeypatch.setattr(time, "time", lambda: real() + jumps.uniform(-1e6, 1e6))
    train(*data, tmp_path)
    assert_same_run(tmp_path, whole)
