"""Every job on disks that are full, too small, or read-only: it stops in one line, and with room it ends the same.

`python -m pytest -m slow tests/test_reliability_disks.py` takes about 25 sizes of each job.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import killing
from avloc.errors import InputError, StorageError
from avloc.system.locks import folder_lock
from jobs import (
    EVERY,
    JOBS,
    Undisturbed,
    assert_all_whole,
    contents,
    extract,
    make_home,
    resize,
    small_disk,
)

PLENTY = "size=64m,nr_inodes=20000"
FULL = re.compile(
    r"error: cannot write .*: (No space left on device|File too large); free space and run the same command again"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "size=200k") as made:
        yield made


def in_kib(disk: Path) -> int:
    return int(subprocess.run(["du", "-sk", disk], capture_output=True, check=True).stdout.split()[0])


COUNTS = dict.fromkeys(EVERY, 25) | dict.fromkeys(("extract", "report", "tables", "train", "corrected", "retrain"), 12)
COUNTS |= {"run": 8, "export": 8, "plot": 8}
"""{name of a job: about so many sizes}: the long ones with fewer."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["size", "nr_inodes"])
@pytest.mark.parametrize("name", EVERY)
def test_a_disk_of_any_size(tmp_path: Path, home: Path, name: str, kind: str) -> None:
    job, disk, said = EVERY[name], tmp_path / "disk", tmp_path / "said"
    with small_disk(disk, PLENTY):
        assert killing.run(job, home, disk / "out", said=said) == 0, said.read_text()
        whole = contents(disk / "out")
        need = in_kib(disk) if kind == "size" else sum(1 for _ in disk.rglob("*"))
    step = max(4 if kind == "size" else 1, need // COUNTS[name])
    for room in itertools.count(step, step):
        with small_disk(disk, f"{kind}={room}{'k' * (kind == 'size')}"):
            if killing.run(job, home, disk / "out", said=said) == 0:
                break
            assert_stopped(said, disk)
            resize(disk, PLENTY)
            assert killing.run(job, home, disk / "out", said=said) == 0, (room, said.read_text())
            assert contents(disk / "out") == whole, room
    print(f"{name}, {kind}: {room // step - 1} disks of up to {room - step} were too small")


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_files_of_any_size(tmp_path: Path, home: Path, name: str) -> None:
    """As on a full disk, byte by byte, and where mounting is not allowed: a file cannot grow further."""
    job, out, said = EVERY[name], tmp_path / "out", tmp_path / "said"
    assert killing.run(job, home, out, said=said) == 0, said.read_text()
    whole = contents(out)
    step = max(1, max(path.stat().st_size for path in out.rglob("*") if path.is_file()) // COUNTS[name])
    for room in itertools.count(600 + step // 2, step):  # `said` has to fit
        shutil.rmtree(out)
        if killing.run(killing.with_small_files, room, job, home, out, said=said) == 0:
            break
        assert_stopped(said, out)
        assert killing.run(job, home, out, said=said) == 0, (room, said.read_text())
        assert contents(out) == whole, room
    print(f"{name}: files of {(room - 600) // step} sizes of up to {room - step} bytes were too small")


def assert_stopped(said: Path, out: Path) -> None:
    """The job stopped with one line, and what it left is whole."""
    lines = said.read_text().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert FULL.fullmatch(errors[0]), lines
    assert "Traceback" not in said.read_text(), lines
    assert not list(out.rglob("*.part")), lines
    assert_all_whole(out)


@pytest.mark.parametrize("name", list(JOBS))
def test_a_full_disk_stops_it_in_one_line_and_with_room_it_goes_on(
    disk: Path, home: Path, undisturbed: Undisturbed, name: str
) -> None:
    ballast = disk / "ballast"
    out = disk / "out"
    out.mkdir()
    room = {"extract": 14_000, "convert": 40_000, "localize": 16_000, "report": 40_000, "tables": 60_000}[name]
    ballast.write_bytes(b"\0" * (200_000 - room))
    with pytest.raises(
        StorageError, match=r"cannot write .*(No space left on device|File too large); free space and run the same"
    ):
        JOBS[name](home, out)
    assert not list(out.rglob(".*.part"))
    assert_all_whole(out)
    ballast.unlink()
    resize(disk, "size=8m")
    JOBS[name](home, out)
    if name != "report":  # its links to the videos depend on its location
        assert contents(out) == contents(undisturbed(name))


@pytest.mark.parametrize("name", list(JOBS))
def test_a_read_only_disk_is_said_before_the_work(disk: Path, home: Path, name: str) -> None:
    resize(disk, "ro")
    with pytest.raises(InputError, match=r"cannot write .* there \(Read-only file system\); choose another -o"):
        JOBS[name](home, disk / "out")


def starved_extraction(home: Path, out: Path) -> None:
    killing.limit_file_size(2_000)  # the isolated processes inherit it
    with pytest.raises(StorageError, match=r"cannot write .*safetensors: File too large"):
        extract(home, out)


def test_files_that_cannot_grow_stop_the_extraction(tmp_path: Path, home: Path, undisturbed: Undisturbed) -> None:
    out = tmp_path / "out"
    assert killing.run(starved_extraction, home, out) == 0
    assert not list(out.glob("*.safetensors"))
    extract(home, out)
    assert contents(out) == contents(undisturbed("extract"))


def test_a_disk_without_room_for_a_single_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Folder, manifest, lock file and owner: the first that does not fit stops the work, in the same words."""
    said = []
    for room in range(1, 8):
        with small_disk(tmp_path / "disk", f"nr_inodes={room}") as disk, contextlib.ExitStack() as lock:
            try:
                lock.enter_context(folder_lock(disk / "out"))
            except StorageError as error:
                said.append(f"error: {error}")
    assert all(map(FULL.fullmatch, said)), said
    assert len(said) == 4
    assert caplog.text == ""


def test_a_full_disk_for_temporary_files_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device", "/tmp/avloc-tag-1")

    app = importlib.import_module("avloc.cli.app")
    monkeypatch.setattr(app, "app", fail)
    with pytest.raises(SystemExit) as left:
        app.main()
    assert left.value.code == 1
    assert FULL.fullmatch(capsys.readouterr().err.strip())
