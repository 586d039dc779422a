"""Isolated processes: a file that crashes, hangs or exhausts memory fails alone."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from avloc.errors import AvlocError, InputError, MediaError
from avloc.system.isolate import Limits, map_isolated
from hostile_work import act


def run(names: list[str], workers: int = 2, folder: Path = Path(), **limits: float) -> dict[str, str]:
    answers = map_isolated(act, [folder / f"{name}.mp4" for name in names], workers, Limits(**limits))
    return {path.stem: str(answer) for path, answer in answers}


@pytest.mark.parametrize("workers", [1, 2])
def test_crashes_cost_their_file(workers: int) -> None:
    said = run(["a", "abort", "b", "segfault", "broken", "print", "c"], workers)
    assert {name for name, answer in said.items() if answer == f"{name} done"} == {"a", "b", "c", "print"}
    assert said["abort"].startswith("abort.mp4: the process that decoded it died, twice (SIGABRT)")
    assert "SIGSEGV" in said["segfault"]
    assert said["broken"] == "broken.mp4: broken"


def test_hangs_and_greed_end_at_the_limits() -> None:
    began = time.monotonic()
    said = run(["hang", "a", "slow", "eat", "b"], 2, silence_s=6.0, memory_gb=0.5)
    assert time.monotonic() - began < 120
    assert said["hang"] == "hang.mp4: given up: no progress for 6 s; the file hangs the decoder"
    assert said["eat"] == "eat.mp4: given up: its process took more than 0.5 GB of memory"
    assert said["slow"] == "slow done"
    assert said["a"] == "a done"
    assert said["b"] == "b done"


def test_memory_is_limited_per_process() -> None:
    assert Limits(memory_gb=1.5).bytes_each(4) == 1.5 * 2**30  # as given, for any number of processes
    assert Limits().bytes_each(4) == pytest.approx(Limits().bytes_each(1) / 4)
    for wrong in ({"silence_s": 0.0}, {"memory_gb": 0.0}, {"memory_gb": -1.0}):
        with pytest.raises(InputError, match="must be above 0"):
            Limits(**wrong)


def test_a_death_by_accident_is_tried_again(tmp_path: Path) -> None:
    assert run(["once"], folder=tmp_path) == {"once": "once done"}


def test_answers_in_order() -> None:
    paths = [Path(f"{name}.mp4") for name in ("late", "a", "abort", "b")]
    answers = list(map_isolated(act, paths, 2, in_order=True))
    assert [path for path, _ in answers] == paths
    assert [isinstance(answer, MediaError) for _, answer in answers] == [False, False, True, False]


def test_our_own_errors_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError, match="ours") as caught:
        run(["a", "bug"])
    assert "bug.mp4" in caught.value.__notes__[0]
    assert "hostile_work.py" in caught.value.__notes__[0]
    with pytest.raises(InputError, match="above 0"):
        Limits(silence_s=0)
    assert not list(map_isolated(act, []))


def _children(parent: int) -> list[int]:
    done = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True)
    return [int(pid) for pid in done.stdout.split()]


def test_no_process_is_left_when_the_caller_stops_early() -> None:
    before = set(_children(os.getpid()))
    for _, answer in map_isolated(act, [Path("a.mp4"), Path("hang.mp4"), Path("hang_2.mp4")], 3):
        assert not isinstance(answer, AvlocError)
        break
    assert set(_children(os.getpid())) <= before


def test_no_process_is_left_when_the_caller_is_killed(tmp_path: Path) -> None:
    """The script has no `if __name__ == "__main__"`: it must not run again in the isolated process."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        from pathlib import Path
        from avloc.system.isolate import map_isolated
        from hostile_work import act
        for path, answer in map_isolated(act, [Path("a.mp4"), Path("hang.mp4")]):
            print(answer, flush=True)
        """)
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=env) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "a done\n"
        (child,) = _children(caller.pid)
        caller.kill()
    until = time.monotonic() + 10
    while time.monotonic() < until and Path(f"/proc/{child}").exists() and not _zombie(child):
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists() or _zombie(child)


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
