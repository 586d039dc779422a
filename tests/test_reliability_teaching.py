"""Tagging, prompts, corrections, suggestions and retraining, killed and run again: the same files in the end.

`python -m pytest -m slow tests/test_reliability_teaching.py` kills at every write, and of training at every fifth.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import killing
from jobs import EVERY, KILLED, assert_all_whole, contents, make_home

EVERY_NTH = {"tag": 1, "prompts": 1, "suggest": 1, "corrected": 5, "retrain": 5}
"""{name of a job: a kill at every n-th write}."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("home"))


def killed_and_run_again(home: Path, folder: Path, name: str, every: Callable[[int], range]) -> None:
    job = EVERY[name]
    whole = folder / "whole"
    assert killing.run(job, home, whole) == 0
    assert_all_whole(whole)
    for point in every(killing.writes_of(job, home, folder / "probe")):
        out = folder / str(point)
        assert killing.run(job, home, out, kill_at=point) == KILLED
        assert_all_whole(out)
        assert killing.run(job, home, out) == 0
        assert contents(out) == contents(whole), point


def test_tagging_killed_in_the_middle_ends_the_same(home: Path, tmp_path: Path) -> None:
    killed_and_run_again(home, tmp_path, "tag", lambda count: range(count // 2, count // 2 + 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_NTH)
def test_killed_at_writes_it_ends_the_same(home: Path, tmp_path: Path, name: str) -> None:
    killed_and_run_again(home, tmp_path, name, lambda count: range(1, count + 1, EVERY_NTH[name]))
