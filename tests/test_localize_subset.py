"""avloc localize --subset: only those inputs are localized, and what is left out is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avloc.cli.app import app
from avloc.errors import ConfigError, InputError
from avloc.pipeline.folder import plan_folder


def make_files(folder: Path, *names: str, suffix: str = ".safetensors") -> Path:
    for name in names:
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def write_labels(path: Path) -> Path:
    path.write_text("video,labels,subset\na.mp4,x,train\nb,x,test\nin/c,x,val\nd,x,test\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".mp4"])
def test_inputs_of_a_subset(suffix: str, tmp_path: Path) -> None:
    inputs = make_files(tmp_path / "inputs", "a", "b", "in/c", "e", suffix=suffix)
    write_labels(tmp_path / "labels.csv")  # beside the inputs: found
    plan = plan_folder([inputs], subset="testing")
    assert [path.stem for path in plan.paths] == ["b"]
    assert plan.notes == (
        f"localizing 1 video of subset testing in {tmp_path / 'labels.csv'}",
        "left out 2 videos of other subsets",
        f"left out 1 video not in {tmp_path / 'labels.csv'}: e{suffix}",
        "1 video of subset testing not among the inputs: d",
    )
    both = plan_folder([inputs], subset="val,test", labels=tmp_path / "labels.csv")
    assert [path.stem for path in both.paths] == ["b", "c"]


def test_ground_truth_knows_the_subsets_too(tmp_path: Path) -> None:
    videos = {"a": "training", "b": "validation", "c": "validation"}
    database = {v: {"subset": s, "duration": 9.0, "annotations": []} for v, s in videos.items()}
    (tmp_path / "truth.json").write_text(json.dumps({"database": database}))
    inputs = make_files(tmp_path / "inputs", "a", "v_b")
    plan = plan_folder([inputs], subset="validation", labels=tmp_path / "truth.json")
    assert [path.stem for path in plan.paths] == ["v_b"]
    assert plan.notes[-1] == "1 video of subset validation not among the inputs: c"


def test_what_cannot_be_chosen_is_an_error(tmp_path: Path) -> None:
    inputs = make_files(tmp_path / "inputs", "a", "b")
    with pytest.raises(InputError, match=r"no labels\.csv in or next to .*; give --labels"):
        plan_folder([inputs], subset="test")
    labels = write_labels(tmp_path / "split.csv")
    with pytest.raises(InputError, match=r"no video in subset 'tset'; it has testing, training, validation"):
        plan_folder([inputs], subset="tset", labels=labels)
    with pytest.raises(InputError, match="none of the 2 inputs is of subset 'val'"):
        plan_folder([inputs], subset="val", labels=labels)
    with pytest.raises(ConfigError, match="--labels is for --subset"):
        plan_folder([inputs], labels=labels)


def test_the_command_takes_it(tmp_path: Path) -> None:
    inputs = make_files(tmp_path / "inputs", "a", "b")
    labels = write_labels(tmp_path / "split.csv")
    chosen = ["--subset", "test", "--labels", str(labels), "--dry-run"]
    done = CliRunner().invoke(app, ["localize", "run", str(inputs), "-o", str(tmp_path / "out"), *chosen])
    assert done.exit_code == 0, done.output
    assert "would localize 1 video" in " ".join(done.output.split())
