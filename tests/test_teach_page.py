"""Saving with versions, and retraining as a job of `avloc view`, without a browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from avloc.errors import FormatError, InputError
from avloc.evaluate.changes import video_changes
from avloc.formats.corrections import VideoCorrections, write_corrections
from avloc.formats.results import find_results
from avloc.formats.retraining import CANCEL_FILE, RetrainState, corrections_of, read_state, write_state
from avloc.report.page.suggested import suggested
from avloc.report.retraining import RetrainInputs, find_inputs, next_folder, retrained_home
from avloc.report.serve import Retrainer
from avloc.report.sources import PageSources
from avloc.system.locks import folder_lock, is_locked
from avloc.types import Detection
from avloc.workflow.retrain import Cancelled, learnable, retrain
from teach_site import VIDEOS, make_result, served
from test_view import ask

OTHERS = {"run": "model.safetensors; give --run RUN", "features": "give --features", "labels": "give --labels"}


def found(*rows: tuple[float, float, str]) -> tuple[Detection, ...]:
    return tuple(Detection(start_s, end_s, label, 0.9) for start_s, end_s, label in rows)


def test_changes_match_detections_of_a_class_one_to_one() -> None:
    old = found((0, 2, "a"), (5, 8, "a"), (5, 8, "b"), (9, 10, "a"))
    new = found((0, 2.01, "a"), (6, 9.5, "a"), (5, 8, "c"))
    changes = video_changes(old, new)
    assert (changes.same, len(changes.moved)) == (1, 1)
    assert changes.moved == ((old[1], new[1]),)  # the larger overlap wins over 9 to 10
    assert changes.shift_s == pytest.approx((1 + 1.5) / 2)
    assert (changes.added, changes.lost) == ((new[2],), (old[2], old[3]))
    assert video_changes((), ()).shift_s == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("trained")
    make_result(home)
    truth = [VideoCorrections(t.video_id, t.duration_s, t.instances, checked=True) for _, t in VIDEOS[:3]]
    write_corrections(home / "detections" / "corrections.json", truth)
    return home


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "set")
    return tmp_path / "set"


@pytest.mark.parametrize("part", ["run", "features", "labels"])
def test_what_is_unknown_is_named_with_its_option(home: Path, part: str) -> None:
    assert find_inputs(PageSources(home / "detections")) == RetrainInputs(
        home / "detections", home / "run", home / "features", home / "labels.csv"
    )
    path = home / (part if part != "labels" else "labels.csv")
    path.rename(home / "elsewhere")
    with pytest.raises(InputError, match=OTHERS[part]):
        find_inputs(PageSources(home / "detections"))
    given = PageSources(home / "detections", **{part: home / "elsewhere"})
    assert getattr(find_inputs(given), part) == home / "elsewhere"


def test_a_run_that_is_given_and_is_none_is_not_replaced_by_another(home: Path) -> None:
    with pytest.raises(InputError, match="nowhere: expected the run"):
        find_inputs(PageSources(home / "detections", run=home / "nowhere"))


def test_new_results_are_numbered_beside_each_other(tmp_path: Path) -> None:
    (tmp_path / "detections").mkdir()
    assert next_folder(retrained_home(tmp_path / "detections")) == tmp_path / "retrained-1"
    (tmp_path / "retrained-1" / "detections").mkdir(parents=True)
    assert next_folder(tmp_path) == tmp_path / "retrained-2"  # not ours
    write_state(tmp_path / "retrained-1", RetrainState("failed", "../detections", "c.json"))
    assert next_folder(tmp_path) == tmp_path / "retrained-1"
    write_state(tmp_path / "retrained-1", RetrainState("finished", "../detections", "../detections/c.json"))
    assert next_folder(tmp_path) == tmp_path / "retrained-2"
    assert retrained_home(tmp_path / "retrained-1" / "detections") == tmp_path
    found = tmp_path / "retrained-1" / "detections"
    assert corrections_of(found) == tmp_path / "detections" / "c.json"
    for elsewhere in ("../../other/c.json", "/etc/c.json"):
        write_state(tmp_path / "retrained-1", RetrainState("finished", "../detections", elsewhere))
        assert corrections_of(found) == found / "corrections.json"


def test_links_are_no_results_and_are_not_written_through(home: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "victim").write_text("kept")
    (home / "retrained-1").symlink_to(tmp_path / "other")
    assert next_folder(home) == home / "retrained-2"
    (home / "retrained-2").mkdir()
    write_state(home / "retrained-2", RetrainState("failed", "../detections", "c.json"))
    for name in ("retrain.log", ".avloc.lock"):
        (home / "retrained-2" / name).symlink_to(tmp_path / "victim")
    assert not is_locked(home / "retrained-2")
    jobs = Retrainer(PageSources(home / "detections"), home / "detections" / "corrections.json", tmp_path, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", Mock(**{"return_value.poll.return_value": None}))
        jobs.act(b'{"action": "start"}')
    assert (tmp_path / "victim").read_text() == "kept"
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize("content", ["{", "[]", '{"status": 1}', '{"status": "finished", "done": "x"}'])
def test_a_damaged_state_says_so(tmp_path: Path, content: str) -> None:
    (tmp_path / "retrain.json").write_text(content)
    with pytest.raises(FormatError, match="delete it"):
        read_state(tmp_path)


def test_suggested_videos_stay_until_all_are_checked(home: Path) -> None:
    run = find_results(home / "detections").read()
    first = list(suggested(run, run.videos(), (), 3))
    assert list(suggested(run, run.videos(), first[:2], 3)) == first
    assert list(suggested(run, run.videos(), first, 3))[:3] == first
    assert len(suggested(run, run.videos(), first, 3)) == 6
    assert suggested(run, run.videos(), (), 0) == {}


def test_corrections_are_learned_and_the_old_result_stays(home: Path) -> None:
    inputs, saved = find_inputs(PageSources(home / "detections")), home / "detections" / "corrections.json"
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    steps: list[str] = []
    result = retrain(inputs, saved, home / "retrained-1", lambda done, total, text: steps.append(f"{done}/{total}"))
    assert all(path.read_bytes() == content for path, content in before.items())
    assert {"40/40", "12/12"} <= set(steps)
    after = find_results(home / "retrained-1" / "detections").read().likely().detections
    for _, truth in VIDEOS[:3]:
        (instance,) = truth.instances
        assert [d.label for d in after[truth.video_id]] == [instance.label]
        assert after[truth.video_id][0].start_s == pytest.approx(instance.start_s, abs=0.5)
    assert sum(len(c.added) for c in result.changes.values()) >= 3
    state = read_state(home / "retrained-1")
    assert state is not None
    assert (state.status, state.before) == ("finished", "../detections")
    assert state.learned == ("video_000", "video_001", "video_002")
    run = find_results(home / "retrained-1" / "detections").read()
    assert not set(state.learned) & set(suggested(run, run.videos(), state.learned, 12))
    following = find_inputs(PageSources(home / "retrained-1" / "detections"))
    assert (following.run, following.features) == (home / "retrained-1" / "run", home / "features")


def test_only_training_videos_are_learned(home: Path) -> None:
    saved = home / "detections" / "corrections.json"
    lines = (home / "labels.csv").read_text().splitlines()
    subsets = ["subset", *["train"] * 2, "test", *["train"] * 9]
    (home / "labels.csv").write_text("".join(f"{a},{b}\n" for a, b in zip(lines, subsets, strict=True)))
    inputs = find_inputs(PageSources(home / "detections"))
    videos, notes = learnable(saved, inputs.labels)
    assert [video.video_id for video in videos] == ["video_000", "video_001"]
    assert notes == ["1 corrected video not learned, not for training: video_002."]
    write_corrections(saved, [replace(videos[0], subset="testing"), VideoCorrections("stranger", 9.0, checked=True)])
    with pytest.raises(InputError, match="got none of videos for training"):
        retrain(inputs, saved, home / "retrained-1")


def test_it_stops_when_asked_and_another_may_follow(home: Path) -> None:
    inputs, saved = find_inputs(PageSources(home / "detections")), home / "detections" / "corrections.json"
    out = home / "retrained-1"

    def cancel(done: int, total: int, text: str) -> None:
        (out / CANCEL_FILE).touch()

    with pytest.raises(Cancelled):
        retrain(inputs, saved, out, cancel)
    state = read_state(out)
    assert state is not None
    assert state.status == "cancelled"
    assert not (out / CANCEL_FILE).exists()
    assert next_folder(home) == out
    with pytest.raises(InputError, match="there are none yet"):
        retrain(inputs, home / "none.json", out)


def job(server) -> dict:
    return json.loads(ask(server, "GET", "/job")[2])["job"]


def act(server, **content) -> tuple[int, dict]:
    good = {"Origin": server.url.rstrip("/"), "Content-Type": "application/json"}
    status, _, answer = ask(server, "POST", "/job", good, json.dumps(content).encode())
    return status, json.loads(answer)


def wait(server, *statuses: str) -> dict:
    until = time.monotonic() + 120
    while (now := job(server))["status"] not in statuses:
        assert time.monotonic() < until, now
        time.sleep(0.2)
    return now


def test_only_the_page_starts_jobs_and_only_of_results_it_knows(home: Path, tmp_path: Path) -> None:
    with served(home / "detections", tmp_path / "page") as server:
        sent = {"Content-Type": "application/json"}
        body = json.dumps({"action": "start", "name": ""}).encode()
        for headers in (
            sent,
            {**sent, "Origin": "http://evil.example"},
            {**sent, "Origin": server.url.rstrip("/"), "Sec-Fetch-Site": "cross-site"},
            {**sent, "Origin": server.url.rstrip("/"), "Host": "evil.example"},
        ):
            assert ask(server, "POST", "/job", headers, body)[0] == 403
        plain = {"Origin": server.url.rstrip("/"), "Content-Type": "text/plain"}
        assert ask(server, "POST", "/job", plain, body)[0] == 400
        for content in ({}, {"action": "delete"}, {"action": ["start"]}, {"action": "start", "name": "../set"}):
            assert act(server, **content)[0] == 400
        assert act(server, action="start", name="retrained-1")[0] == 400
        assert act(server, action="cancel")[0] == 409
        assert act(server, action="open", name="../set")[0] == 409
        assert job(server) is None
        (home / "detections" / "corrections.json").unlink()
        assert "no corrections yet" in act(server, action="start")[1]["message"]
    assert not list(home.glob("retrained-*"))


def test_the_command_has_the_paths_that_the_server_knows(home: Path, tmp_path: Path, monkeypatch) -> None:
    started = []

    def start(command, **options):
        started.append((command, options))
        return Mock(**{"poll.return_value": None})

    monkeypatch.setattr(subprocess, "Popen", start)
    jobs = Retrainer(PageSources(home / "detections"), home / "detections" / "corrections.json", tmp_path, {})
    content = {"action": "start", "name": "", "run": "/etc", "out": "/etc", "command": "rm"}
    assert jobs.act(json.dumps(content).encode())[0] == 200
    ((command, options),) = started
    assert command[1:5] == ["-P", "-m", "avloc", "retrain"]
    assert command[5:] == [
        str(home / "detections"),
        f"--run={home / 'run'}",
        f"--features={home / 'features'}",
        f"--labels={home / 'labels.csv'}",
        f"--corrections={home / 'detections' / 'corrections.json'}",
        f"--out={home / 'retrained-1'}",
    ]
    assert "shell" not in options


def test_files_of_others_in_the_folder_of_a_job_stay(home: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: Mock(**{"poll.return_value": None}))
    folder = home / "retrained-1"
    folder.mkdir()
    write_state(folder, RetrainState("cancelled", "../detections", "../detections/c.json"))
    (folder / "retrain.log").write_text("mine")
    jobs = Retrainer(PageSources(home / "detections"), home / "detections" / "corrections.json", tmp_path, {})
    for _ in range(2):
        status, answer = jobs.act(b'{"action": "start"}')
        assert (status, "avloc did not write" in answer["message"]) == (400, True)
    assert (folder / "retrain.log").read_text() == "mine"
    (folder / "retrain.log").unlink()
    assert jobs.act(b'{"action": "start"}')[0] == 200
    assert jobs.act(b'{"action": "start"}')[0] == 409
    (folder / CANCEL_FILE).symlink_to(home / "elsewhere")
    with folder_lock(folder):
        status, answer = jobs.act(b'{"action": "cancel"}')
    assert (status, "move it away" in answer["message"]) == (400, True)
    assert not (home / "elsewhere").exists()
    jobs = Retrainer(PageSources(home / "detections"), home / "detections" / "corrections.json", tmp_path, {})
    assert jobs.act(b'{"action": "start"}')[0] == 200  # the log of the last attempt is ours


def test_a_state_without_a_process_is_told_as_stopped(home: Path, tmp_path: Path) -> None:
    folder = home / "retrained-1"
    with served(home / "detections", tmp_path / "page") as server:
        with folder_lock(folder):
            write_state(folder, RetrainState("running", "../detections", "../detections/c.json", "train", 3, 10))
            assert is_locked(folder)
            assert (job(server)["status"], job(server)["done"]) == ("running", 3)
            assert act(server, action="start")[1]["message"] == "a retraining runs already"
        (folder / "retrain.log").write_text("training\nerror: the disk is full\n")
        assert not is_locked(folder)
        assert (job(server)["status"], job(server)["message"]) == ("stopped", "error: the disk is full")


@pytest.mark.slow
def test_a_job_outlives_the_server_and_is_cancelled_by_the_next(home: Path, tmp_path: Path) -> None:
    config = (home / "run" / "config.yaml").read_text()
    assert "steps: 40" in config
    with served(home / "detections", tmp_path / "page") as server:
        assert act(server, action="start", name="")[1]["job"]["status"] == "running"
        assert act(server, action="start", name="")[0] == 409
        began = time.monotonic()
        while not is_locked(home / "retrained-1"):
            assert time.monotonic() - began < 120
            time.sleep(0.05)
    with served(home / "detections", tmp_path / "page") as server:
        assert job(server)["status"] == "running"
        assert act(server, action="cancel")[0] == 200
        assert wait(server, "cancelled", "finished")["status"] == "cancelled"
        assert act(server, action="start", name="")[0] == 200
        assert wait(server, "finished")["changes"]["video_000"]["added"] == 1
        assert act(server, action="open", name="retrained-1")[0] == 200
        while not job(server)["page"]["ready"]:
            time.sleep(0.1)
        assert ask(server, "GET", "/retrained-1/index.html")[0] == 200


@pytest.mark.slow
def test_a_job_that_is_killed_is_told_as_stopped(home: Path, tmp_path: Path) -> None:
    with served(home / "detections", tmp_path / "page") as server:
        act(server, action="start", name="")
        while not is_locked(home / "retrained-1"):
            time.sleep(0.05)
        child = server.jobs._child
        os.kill(child.pid, signal.SIGKILL)
        child.wait(30)
        assert wait(server, "stopped")["name"] == "retrained-1"
        assert threading.active_count() < 50


def test_links_that_lead_in_a_circle_are_no_folders(tmp_path: Path) -> None:
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    assert retrained_home(circle) == tmp_path
    assert PageSources(tmp_path).features_of(circle) is None
