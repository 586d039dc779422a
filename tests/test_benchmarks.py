"""`compare` names the speed ratios that fell; the benchmarks of `make bench` run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def compared(folder: Path, old: dict[str, float], new: dict[str, float]) -> tuple[int, str]:
    paths = []
    for name, ratios in (("old", old), ("new", new)):
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(json.dumps({"step": {"machine": {}, "ratios": ratios, "figures": {"s": 1.0}}}))
    command = [sys.executable, "-m", "benchmarks.speed", "compare", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("new", "flagged"),
    [
        ({"a": 1.0, "b": 4.0}, []),
        ({"a": 0.86, "b": 3.41}, []),
        ({"a": 0.84, "b": 4.0}, ["a: 1.000 -> 0.840 (-16%)"]),
        ({"a": 2.0, "b": 1.0}, ["b: 4.000 -> 1.000 (-75%)"]),
        ({"a": 1.0}, ["b: 4.000 -> gone"]),
    ],
)
def test_a_ratio_that_fell_is_named(tmp_path: Path, new: dict[str, float], flagged: list[str]) -> None:
    code, output = compared(tmp_path, {"a": 1.0, "b": 4.0}, new)
    assert code == bool(flagged)
    assert output.splitlines()[:-1] == [f"step: {line}" for line in flagged]
    assert f"{len(flagged)} of 2 ratios" in output


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train-step", "long-videos", "serve", "distributed"])
def test_speed_is_measured(tmp_path: Path, command: str) -> None:
    arguments = [sys.executable, "-m", "benchmarks.speed", command, "--quick", "--json", str(tmp_path / "found.json")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert all(value > 0 for part in found.values() for value in part["ratios"].values())
