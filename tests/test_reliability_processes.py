"""Ctrl-C once and twice, workers of a killed parent, and equal results across processes and thread counts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import avloc
from avloc.config import preset
from avloc.model.checkpoint import load_model
from avloc.model.files import STATE_FILE
from avloc.train.loop import fit
from avloc.train.state import load_state
from feature_sets import make_videos, write_set

SMALL = {"model.embed_dim": 8, "train.batch_size": 6, "train.eval_every": 5}
_TIMEOUT_S = 170


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + _TIMEOUT_S
    while not what():
        assert time.monotonic() < until, "timed out"
        time.sleep(0.05)


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python with arguments in a new session; processes are killed at the end of the test."""
    with ExitStack() as running:

        def one(*command: object, **named: Any) -> subprocess.Popen[str]:
            words = [sys.executable, *map(str, command)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            process = running.enter_context(subprocess.Popen(words, start_new_session=True, **pipes, **named))
            running.callback(process.kill)
            return process

        yield one


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """(exit code, stderr)."""
    _, err = process.communicate(timeout=_TIMEOUT_S)
    return process.returncode, err


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_ctrl_c_stops_training_in_one_line_and_resume_goes_on(tmp_path: Path, start: Start) -> None:
    features, labels = write_set(tmp_path, make_videos(count=9))
    sets = [word for key, value in {**SMALL, "train.steps": 100_000}.items() for word in ("--set", f"{key}={value}")]
    out = tmp_path / "run"
    process = start("-m", "avloc", "train", "--features", features, "--labels", labels, "-o", out, *sets)
    wait_for(lambda: (out / STATE_FILE).exists())
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    code, err = finish(process)
    assert code == 130
    assert "Traceback" not in err
    assert err.rstrip().endswith("run the same command again to continue (avloc train: with --resume)")
    assert load_state(out / STATE_FILE)["step"] >= 5
    assert not list(out.glob(".*.part"))


STUBBORN = """
import sys, time
from avloc.cli import app, main

@app.command()
def stubborn() -> None:
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("tidying up", flush=True)
        time.sleep(60)

sys.argv = ["avloc", "stubborn"]
main()
"""


def test_a_second_ctrl_c_ends_it_at_once(start: Start) -> None:
    process = start("-c", STUBBORN)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "tidying up\n"
    process.send_signal(signal.SIGINT)
    code, err = finish(process)
    assert code == -signal.SIGINT
    assert "Traceback" not in err


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_isolated_processes_end_with_their_parent(tmp_path: Path, start: Start, sign: signal.Signals) -> None:
    script = tmp_path / "script.py"
    code = "from avloc.system.isolate import map_isolated\nfrom hostile_work import nap\n"
    code += "list(map_isolated(nap, [60, 60], 2))\n"
    (tmp_path / "hostile_work.py").write_text(
        "import os, time\ndef nap(s):\n    os.write(2, b'%d\\n' % os.getpid())\n    time.sleep(s)\n"  # one write
    )
    script.write_text(code)
    process = start(script)
    assert process.stderr is not None
    workers = [int(process.stderr.readline()) for _ in range(2)]
    assert all(map(alive, workers))
    process.send_signal(sign)
    wait_for(lambda: not any(map(alive, workers)))


def test_freed_memory_is_kept_for_the_next_step_and_given_back_at_the_end() -> None:
    """Page faults of the tenth array of 80 MB: none, instead of 20,000 new pages. Then memory is as at first."""
    code = """
import resource, sys
from contextlib import nullcontext
import numpy as np
from avloc.system.allocator import freed_memory_kept
with freed_memory_kept() if sys.argv[1] == "keep" else nullcontext():
    for k in range(10):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(10**7)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
lines = open("/proc/self/status") if sys.platform == "linux" else ()
print(next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS")), 0))
"""
    (kept, resident), (given_back, _) = (
        map(int, subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True).stdout.split())
        for how in ("keep", "not")
    )
    assert kept < 100
    assert resident < 80
    if sys.platform == "linux":
        assert kept < given_back


def predictions(run: Path, threads: int = 1) -> list[np.ndarray]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        localizer = avloc.load(run)
        return [localizer.activations(video).probs for video, _ in make_videos(count=3, seed=5, snippets=(200, 300))]
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_thread_counts_change_nothing_beyond_the_fifth_digit(tmp_path: Path, start: Start) -> None:
    features, labels = write_set(tmp_path, make_videos(count=12, snippets=(100, 200), sizes=(64, 96)))
    settings = {**SMALL, "model.embed_dim": 128, "train.steps": 10, "train.learning_rate": 1e-4}
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    for threads in "124":
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        arguments = ["--features", features, "--labels", labels, "-o", tmp_path / threads, *sets]
        assert finish(start("-m", "avloc", "-q", "train", *arguments, env=environment))[0] == 0
    one, *others = (load_model(tmp_path / threads)[0].state_dict() for threads in "124")
    worst = max(float((other[key] - one[key]).abs().max()) for other in others for key in one)
    print("largest difference of a weight:", worst)
    assert worst < 1e-5


@pytest.mark.slow
def test_localizing_on_other_thread_counts_differs_by_less_than_1e_5(tmp_path: Path) -> None:
    data = write_set(tmp_path, make_videos(count=9))
    fit(*data, tmp_path / "run", preset("default", {**SMALL, "model.embed_dim": 256, "train.steps": 5}))
    one = predictions(tmp_path / "run", 1)
    worst = max(
        float(np.abs(a - b).max()) for n in (2, 4) for a, b in zip(one, predictions(tmp_path / "run", n), strict=True)
    )
    print("largest difference of a probability:", worst)
    assert worst < 1e-5


@pytest.mark.slow
def test_other_processes_give_the_same_bytes(tmp_path: Path, start: Start) -> None:
    """With different hash seeds, and therefore different orders of sets."""
    features, labels = write_set(tmp_path, make_videos(count=12))
    sets = [word for key, value in {**SMALL, "train.steps": 10}.items() for word in ("--set", f"{key}={value}")]
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run, found = tmp_path / f"run{seed}", tmp_path / f"found{seed}"
        for arguments in (
            ["train", "--features", features, "--labels", labels, "-o", run, *sets],
            ["localize", run, features, "-o", found],
        ):
            assert finish(start("-m", "avloc", "-q", *arguments, env=environment))[0] == 0
    for name in ("run{}/model.safetensors", "found{}/segments.json", "found{}/segments.csv", "found{}/run.yaml"):
        assert (tmp_path / name.format(1)).read_bytes() == (tmp_path / name.format(2)).read_bytes(), name
    scores = [sorted((tmp_path / f"found{k}" / "scores").iterdir()) for k in "12"]
    assert len(scores[0]) == 12
    for one, two in zip(*scores, strict=True):
        assert one.read_bytes() == two.read_bytes()
