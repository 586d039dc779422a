"""Files deleted, replaced, cut off or unreadable in the middle of a job, and clocks that jump (docs/reliability.md).

`python -m pytest -m slow tests/test_reliability_disasters.py` does so to files of every job, once or twice each.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import killing
import odd_clock
from avloc.config import preset
from avloc.errors import InputError, StorageError
from avloc.features import task
from avloc.media.find import find_media
from avloc.media.probe import probe
from avloc.model.files import PREVIOUS_FILE, TENSORBOARD_FOLDER
from avloc.paper.cells import compute, open_data
from avloc.paper.rows import rows_of
from avloc.paper.runner import cell_of
from avloc.report.page.build import MediaFolder
from avloc.system.locks import folder_lock
from avloc.system.outputs import MANIFEST
from avloc.train.loop import fit
from avloc.train.metrics_log import MetricsLog
from avloc.train.record import read_record
from jobs import EVERY, SMALL, WITHOUT_WEIGHTS, assert_all_whole, contents, hurt, make_home, under_clock

HURT: dict[str, tuple[str, ...]] = {
    "extract": ("videos/video_001.mp4", "OUT", "OUT/video_000.safetensors"),
    "convert": ("raw/v1.npy", "OUT"),
    "localize": ("features/video_001.safetensors", "run", "OUT", "OUT/scores/video_000.safetensors"),
    "report": ("videos/video_001.mp4", "detections/scores/video_001.safetensors", "detections", "OUT", "OUT/data"),
    "tables": ("features/video_003.safetensors", "labels.csv", "ground_truth.json"),
    "tag": ("tagged/v1.safetensors",),
    "prompts": ("tagged/v1.safetensors", "OUT"),
    "suggest": ("features/video_001.safetensors", "run"),
    "train": ("features/video_003.safetensors", "labels.csv", "OUT/run", "OUT/run/state.pt", "OUT/run/metrics.jsonl"),
    "retrain": ("run", "detections", "corrections.json", "OUT/run/model.safetensors"),
    "run": (
        "videos/video_001.mp4",
        "video_labels.csv",
        "OUT/features/video_001.safetensors",
        "OUT/run",
        "OUT/detections",
    ),
    "review": ("videos/video_001.mp4", "OUT"),
    "export": ("run",),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_home(tmp_path_factory.mktemp("home") / "home")
    shutil.copytree(made, made.parent / "kept")
    return made


def restore(home: Path) -> None:
    shutil.rmtree(home)
    shutil.copytree(home.parent / "kept", home)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "what"), [(name, what) for name, all_of in HURT.items() for what in all_of])
def test_what_is_lost_in_the_middle_costs_itself_or_stops_in_one_line(
    home: Path, tmp_path: Path, name: str, what: str
) -> None:
    restore(home)
    out, said, job = tmp_path / "out", tmp_path / "said", EVERY[name]
    assert killing.run(job, home, out, said=said) == 0
    whole = contents(out)
    shutil.rmtree(out)
    count = killing.writes_of(job, home, out)
    target = tmp_path / what.replace("OUT", "out") if what.startswith("OUT") else home / what
    early, late = max(1, count // 3), max(1, 2 * count // 3)
    cases = [("deleted", early), ("deleted", late), ("replaced", early)]
    if name != "extract":  # what can be read of a damaged video is kept, with a note
        cases.append(("cut", early))
    for how, point in [*cases, ("unreadable", early)] if target.is_relative_to(home) else cases:
        shutil.rmtree(out, ignore_errors=True)
        code = killing.run(job, home, out, kill_at=point, instead=partial(hurt, target, how), said=said)
        lines = said.read_text().splitlines()
        case = how, point, lines
        assert code in (0, 1, 2, 3), case
        assert "Traceback" not in said.read_text(), case
        assert sum(line.startswith("error: ") for line in lines) == (code in (1, 2)), case
        if target.is_relative_to(home):
            assert_all_whole(out)
            restore(home)
        assert killing.run(job, home, out, said=said) == 0, (case, said.read_text())
        unlisted = {what.removeprefix("OUT/"), f"run/{PREVIOUS_FILE}"} if what.startswith("OUT/run/") else set()
        found = contents(out)
        assert found.keys() | unlisted == whole.keys() | unlisted, case
        same = {name for name in found if name not in unlisted and not name.endswith(MANIFEST)}
        assert not [name for name in same if found[name] != whole[name]], case


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_no_clock_changes_anything(home: Path, tmp_path: Path, name: str) -> None:
    restore(home)
    out, said = tmp_path / "out", tmp_path / "said"
    assert killing.run(EVERY[name], home, out, said=said) == 0
    whole = contents(out)
    for clock in odd_clock.CLOCKS:
        shutil.rmtree(out)
        assert killing.run(under_clock, EVERY[name], clock, home, out, said=said) == 0, (clock, said.read_text())
        assert contents(out) == whole, clock
        assert not [path for path in out.rglob("cells/*.json") if re.search(r'_s": -', path.read_text())], clock
    for when in (2.2e9, 0):  # file times in the future, and at the beginning
        shutil.rmtree(out)
        for path in home.rglob("*"):
            os.utime(path, (when, when))
        assert killing.run(EVERY[name], home, out, said=said) == 0, (when, said.read_text())
        found = contents(out)
        assert found.keys() == whole.keys(), when
        # a proxy states which video it was made of, by its time too
        assert not [key for key in whole if found[key] != whole[key] and not (name == "report" and ".mp4" in key)], when


def test_a_video_that_changes_while_it_is_read_costs_itself(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is still being copied into the folder: its features would be of a part, and never be made again."""
    shutil.copytree(home / "videos", tmp_path / "videos")
    video, real = tmp_path / "videos" / "video_001.mp4", task.extract_features
    content = video.read_bytes()

    def grow(media: Any, *rest: Any, **named: Any) -> Any:
        if media.path == video:
            video.write_bytes(content + b"more")
        return real(media, *rest, **named)

    monkeypatch.setattr(task, "extract_features", grow)
    rows = [task.extract_to_file(path, task.Job(tmp_path, WITHOUT_WEIGHTS)) for path in find_media(video.parent)]
    assert [row.status for row in rows] == ["done", "failed", "done"]
    assert "the file changed while it was read; run the same command again once it is complete" in rows[1].reason
    assert not (tmp_path / "video_001.safetensors").exists()


@pytest.mark.parametrize("again", [False, True])
def test_a_results_folder_deleted_in_the_middle_is_said(tmp_path: Path, again: bool) -> None:
    out = tmp_path / "out"
    lock = folder_lock(out)
    lock.__enter__()
    shutil.rmtree(out)
    if again:
        out.mkdir()
    with pytest.raises(StorageError, match=r"out: deleted or replaced during the work; run the same command again"):
        lock.__exit__(None, None, None)


def test_a_video_deleted_before_it_is_copied_into_the_page_costs_itself(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "videos", tmp_path / "videos")
    media = [probe(path) for path in find_media(tmp_path / "videos")]
    media[1].path.unlink()
    page = MediaFolder(tmp_path, "never", "copy")
    urls = [page.place(one, one.video_id)[0] for one in media]
    assert urls == ["media/video_000.mp4", "", "media/video_002.mp4"]
    assert re.search(r"video_001\.mp4: cannot be copied: No such file", page.problems["video_001"])


def test_a_cell_of_a_table_is_not_kept_if_its_data_changed(home: Path, tmp_path: Path) -> None:
    """Its key names the data as it was at the start; the next run would take it as done."""
    restore(home)
    data = open_data(f"demo={home}")
    cell = cell_of(rows_of(["table1"])["table1"]["audio"], data, 0, SMALL, tmp_path)
    features = home / "features" / "video_003.safetensors"
    features.rename(home / "kept")
    with pytest.raises(InputError, match=r"home: the data changed during the work; run the same command again"):
        compute(cell)
    assert not cell.path.exists()
    (home / "kept").rename(features)
    compute(cell)
    assert read_record(cell.run).train_videos + read_record(cell.run).validation_videos == 12


def test_a_folder_in_place_of_scores_is_left_there(home: Path, tmp_path: Path) -> None:
    EVERY["localize"](home, tmp_path)
    scores = tmp_path / "scores" / "video_000.safetensors"
    hurt(scores, "unreadable")
    EVERY["localize"](home, tmp_path)
    assert scores.is_dir()
    assert "video_000" in (tmp_path / "failures.csv").read_text()


def test_a_previous_checkpoint_that_a_resumed_run_makes_is_ours(home: Path, tmp_path: Path) -> None:
    """The manifest forgets files that are not there when a run stops; `--overwrite` then refused the one made later."""

    def stop(step: int, steps: int, text: str) -> None:
        if step == 3:
            raise KeyboardInterrupt

    config = preset("default", SMALL)
    with pytest.raises(KeyboardInterrupt):
        fit(home / "features", home / "labels.csv", tmp_path, config, progress=stop)
    assert not (tmp_path / PREVIOUS_FILE).exists()
    fit(home / "features", home / "labels.csv", tmp_path, config, resume=True)
    assert (tmp_path / PREVIOUS_FILE).exists()
    fit(home / "features", home / "labels.csv", tmp_path, config)


def test_events_of_a_run_resumed_under_an_earlier_clock_come_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard reads files in the order of their names, which begin with the time."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    real = time.time
    for first, now in ((1, 0.0), (3, -1e6), (4, -2e6)):
        monkeypatch.setattr(time, "time", lambda now=now: real() + now)
        log = MetricsLog(tmp_path, after_step=first - 1)
        for step in range(first, 6):
            log.write(step, {"loss/total": first})
        log.close()
    events = EventAccumulator(str(tmp_path / TENSORBOARD_FOLDER))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/total")] == [
        (1, 1),
        (2, 1),
        (3, 3),
        (4, 4),
        (5, 4),
    ]
