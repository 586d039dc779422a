"""Temporary folders of processes that are ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from avloc.system.scratch import scratch_folder

CODE = (
    "import time; from avloc.system.scratch import scratch_folder\n"
    "with scratch_folder('avloc-x-') as folder:\n  (folder / 'file').touch(); print(folder, flush=True); time.sleep(60)"
)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def start() -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def stop(process: subprocess.Popen[str], number: int) -> int:
    process.send_signal(number)
    process.communicate(timeout=30)
    return process.returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_leave_no_folder(temporary: Path, number: int) -> None:
    process, folder = start()
    assert (folder / "file").is_file()
    assert stop(process, number) in (128 + number, -number, 1)
    assert not list(temporary.iterdir())


def test_the_folder_of_a_killed_process_is_removed_by_the_next(temporary: Path) -> None:
    process, killed = start()
    alive, kept = start()
    stop(process, signal.SIGKILL)
    mine = temporary / "avloc-x-mine"  # without the mark of `scratch_folder`
    mine.mkdir()
    (temporary / "avloc-x-link").symlink_to(kept)
    assert killed.is_dir()
    with scratch_folder("avloc-x-") as folder:
        assert folder.is_dir()
        assert not killed.exists()
        assert kept.is_dir()
        assert mine.is_dir()
    stop(alive, signal.SIGTERM)
    assert not folder.exists()
