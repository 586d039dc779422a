"""Tagging, prompts, corrections, suggestions and retraining, killed and run again: the same files in the end.

`python -m pytest -m slow tests/test_reliability_teaching.py` kills at every write, and of training at every fifth.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import killing
from avloc.config import preset
from avloc.formats.corrections import VideoCorrections, write_corrections
from avloc.model.checkpoint import load_model
from avloc.train.loop import fit
from feature_sets import make_videos, write_split_set
from test_reliability_jobs import KILLED, Job, assert_all_whole, contents, localize, writes_of
from test_tag_folder import DOG, PUG, RowsAsLogits, store
from test_zero_shot import Stand

SMALL = {"model.embed_dim": 8, "train.steps": 4, "train.eval_every": 2, "train.batch_size": 6}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with a run, detections, corrections, and features that the stand-ins for taggers read."""
    home = tmp_path_factory.mktemp("home")
    write_split_set(home, count=18, tests=6)
    fit(home / "features", home / "labels.csv", home / "run", preset("default", SMALL))
    localize(home, home / "detections")
    truths = [truth for _, truth in make_videos()][:3]
    checked = [VideoCorrections(t.video_id, t.duration_s, t.instances, checked=True) for t in truths]
    write_corrections(home / "corrections.json", checked)
    for k in range(3):
        store(home / "tagged", f"v{k}", {DOG: slice(k, k + 6)}, {PUG: slice(k, k + 6)})
    return home


def avloc(*arguments: object) -> None:
    """The command, in this process."""
    from avloc.cli import main

    sys.argv = ["avloc", "-q", *map(str, arguments)]
    main()


def tag(home: Path, out: Path) -> None:
    from avloc.tagging import heads

    heads._tagger = lambda name, weights: RowsAsLogits()  # type: ignore[assignment]
    avloc("tag", home / "tagged", "-o", out / "tags.csv", "--words", "dog; rain", "--overwrite")


def prompts(home: Path, out: Path) -> None:
    from avloc.pipeline import scorers

    scorers.load_taggers = lambda features, *_: dict.fromkeys(features.modalities, Stand())  # type: ignore[assignment]
    avloc("localize", "--prompts", "dog; cat", home / "tagged", "-o", out, "-f", "json,csv,srt")


def suggest(home: Path, out: Path) -> None:
    avloc("suggest", home / "run", home / "features", "-n", "3", "-o", out / "suggest.csv")


def corrected(home: Path, out: Path) -> None:
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    data = ["--features", home / "features", "--labels", home / "labels.csv"]
    again = ["--resume"] if (out / "run" / "state.pt").exists() else ["--overwrite"]
    avloc("train", *data, "--corrections", home / "corrections.json", "-o", out / "run", *settings, *again)


def retrain(home: Path, out: Path) -> None:
    data = ["--run", home / "run", "--features", home / "features", "--labels", home / "labels.csv"]
    avloc("retrain", home / "detections", "--corrections", home / "corrections.json", "-o", out, *data)


JOBS: dict[str, tuple[Job, int]] = {
    "tag": (tag, 1),
    "prompts": (prompts, 1),
    "suggest": (suggest, 1),
    "corrected": (corrected, 5),
    "retrain": (retrain, 5),
}
"""{name: (job, a kill at every n-th write)}."""


def results(out: Path) -> dict[str, object]:
    """`contents`, of runs only the weights: the other files hold run times."""
    runs = {path.parent for path in out.rglob("model.safetensors")}
    return {
        name: value
        for name, value in contents(out).items()
        if name.endswith("model.safetensors") or not runs & {*(out / name).parents}
    }


def killed_and_run_again(home: Path, folder: Path, name: str, every: Callable[[int], range]) -> None:
    job, _ = JOBS[name]
    whole = folder / "whole"
    assert killing.run(job, home, whole) == 0
    assert_all_whole(whole)
    for point in every(writes_of(job, home, folder / "probe")):
        out = folder / str(point)
        assert killing.run(job, home, out, kill_at=point) == KILLED
        assert_all_whole(out)
        assert killing.run(job, home, out) == 0
        assert results(out) == results(whole), point
        for model in out.rglob("model.safetensors"):
            load_model(model)


def test_tagging_killed_in_the_middle_ends_the_same(home: Path, tmp_path: Path) -> None:
    killed_and_run_again(home, tmp_path, "tag", lambda count: range(count // 2, count // 2 + 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_killed_at_writes_it_ends_the_same(home: Path, tmp_path: Path, name: str) -> None:
    killed_and_run_again(home, tmp_path, name, lambda count: range(1, count + 1, JOBS[name][1]))
