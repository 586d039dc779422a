"""`avloc run` on sets that are too small or too uniform: an answer, or one clear line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avloc.media.encode import write_video
from test_cli import film, one_line, run, table
from test_rerun import QUICK

SETTINGS = [part for key, value in QUICK.items() for part in ("--set", f"{key}={value}")]


def go(
    capsys: pytest.CaptureFixture[str], home: Path, labels: list[str], sound: bool = True, *more: str
) -> tuple[int, str, str]:
    """`avloc run` on clip_0, clip_1, ... with these labels; clips that exist are kept."""
    rows = ["video,labels", *(f"clip_{k},{label}" for k, label in enumerate(labels))]
    for k in range(len(labels)):
        if not (home / "videos" / f"clip_{k}.mp4").exists():
            film(home / "videos" / f"clip_{k}.mp4", 2.0, sound=sound, seed=k)
    (home / "labels.csv").write_text("\n".join(rows) + "\n")
    return run(capsys, "run", home / "videos", "--labels", home / "labels.csv", "-o", home / "out", *SETTINGS, *more)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["jump", "jump", ""], "1 class (jump)"),
        (["jump", "jump", "wave"], "only one video for wave"),
        (["jump", "jump", "jump"], "3 training videos, all with the same labels (jump)"),
        (["jump"], "1 training video, all with the same labels (jump)"),
    ],
    ids=["one class", "a class with one clip", "all the same", "one clip"],
)
def test_small_sets_get_an_answer(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, labels: list[str], said: str
) -> None:
    code, out, err = go(capsys, tmp_path, labels)
    assert code == 0, err
    assert said in " ".join((out + err).split())
    assert len(table(tmp_path / "out/detections/videos.csv")) == len(labels)


def test_no_label_at_all_is_said_before_the_long_work(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = go(capsys, tmp_path, ["", ""])
    assert (code, "none of the 2 videos has a label for training" in one_line(err)) == (2, True)
    assert not (tmp_path / "out").exists()


def test_clips_without_sound_name_the_setting_that_works(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = go(capsys, tmp_path, ["jump", "wave"], False)
    assert (code, "--set model.modality=visual" in one_line(err)) == (2, True)
    code, _, err = go(capsys, tmp_path, ["jump", "wave"], False, "--set", "model.modality=audio")
    assert (code, "2 videos without audio features" in one_line(err)) == (2, True)
    code, out, err = go(capsys, tmp_path, ["jump", "wave"], False, "--set", "model.modality=visual")
    assert code == 0, err
    assert "2 already done" in out


def test_silent_clips_get_an_answer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for k in range(2):
        frames = [np.full((72, 96, 3), 60 + 90 * k, np.uint8)] * 24
        write_video(tmp_path / "videos" / f"clip_{k}.mp4", frames, 12, np.zeros(32000, np.float32), 16000)
    code, _, err = go(capsys, tmp_path, ["jump", "wave"])
    assert code == 0, err


def test_a_short_and_a_long_clip_together(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = (rng.integers(0, 255, (64, 64, 3), np.uint8) for _ in range(300))
    film(tmp_path / "videos" / "clip_0.mp4", 0.5)
    write_video(tmp_path / "videos" / "clip_1.mp4", noise, Fraction(1, 2), None, 16000)
    code, _, err = go(capsys, tmp_path, ["jump", "wave", "jump"])
    assert code == 0, err
    rows = {row["video"]: float(row["duration_s"]) for row in table(tmp_path / "out/detections/videos.csv")}
    assert rows == pytest.approx({"clip_0": 0.5, "clip_1": 600.0, "clip_2": 2.0}, abs=0.1)
