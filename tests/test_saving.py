"""Corrections saved from the page: versions, conflicts, locks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from avloc.errors import FormatError, InputError
from avloc.formats.corrections import Point, VideoCorrections, read_corrections, write_corrections
from avloc.report.corrections import statements, version_of
from avloc.report.serve import save_corrections
from avloc.system.locks import file_lock, folder_lock, is_locked
from avloc.system.outputs import LOCK_FILE
from avloc.types import Instance

DOG = VideoCorrections("dog", 9.0, (Instance(1.0, 2.5, "bark"),), (Instance(3.0, 4.0, "saw"),), (Point(1.5, "bark"),))


def posted(*videos: VideoCorrections, based_on: dict[str, str] | None = None, folder: Path) -> bytes:
    write_corrections(folder / "posted.json", videos)
    content = json.loads((folder / "posted.json").read_text(encoding="utf-8"))
    return json.dumps({**content, **({} if based_on is None else {"based_on": based_on})}).encode()


def changed(video: VideoCorrections, end_s: float) -> VideoCorrections:
    return VideoCorrections(video.video_id, video.duration_s, (Instance(1.0, end_s, "bark"),))


def test_a_save_that_is_based_on_an_old_version_is_refused_and_told_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    first = save_corrections(posted(DOG, based_on={"dog": ""}, folder=tmp_path), path)
    assert first.versions == {"dog": version_of(DOG)}
    second = save_corrections(posted(changed(DOG, 3.0), based_on=dict(first.versions), folder=tmp_path), path)
    cat = VideoCorrections("cat", 5.0, checked=True)
    stale = posted(changed(DOG, 4.0), cat, based_on=dict(first.versions), folder=tmp_path)
    third = save_corrections(stale, path)
    assert third.versions == {"cat": version_of(cat)}  # the other video is saved
    assert third.conflicts == {"dog": statements(changed(DOG, 3.0))}
    assert third.conflicts["dog"]["version"] == second.versions["dog"]
    assert read_corrections(path)[0] == (cat, changed(DOG, 3.0))
    again = save_corrections(posted(changed(DOG, 3.0), based_on=dict(first.versions), folder=tmp_path), path)
    assert not again.conflicts  # sent twice
    path.unlink()  # somebody has deleted the file
    gone = save_corrections(posted(changed(DOG, 4.0), based_on=dict(second.versions), folder=tmp_path), path)
    assert gone.conflicts == {"dog": {"version": ""}}


@pytest.mark.parametrize("based_on", [[], "x", {"dog": 1}, {"dog": None}])
def test_versions_are_texts(tmp_path: Path, based_on: object) -> None:
    content = json.loads(posted(DOG, folder=tmp_path)) | {"based_on": based_on}
    with pytest.raises(FormatError, match="one version per video"):
        save_corrections(json.dumps(content).encode(), tmp_path / "c.json")
    assert not (tmp_path / "c.json").exists()


def test_a_damaged_file_of_corrections_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(FormatError):
        save_corrections(posted(DOG, folder=tmp_path), tmp_path / "c.json")
    assert (tmp_path / "c.json").read_text() == "{"


_SAVE = """
import json, sys
from pathlib import Path
from typing import Any
from avloc.report.serve.corrections import save_corrections
for k in range(12):
    name = f"{sys.argv[2]} {k}"
    entry = {"duration": 9.0, "annotations": [{"label": "bark", "segment": [1, 2]}]}
    save_corrections(json.dumps({"database": {name: entry}, "based_on": {}}).encode(), Path(sys.argv[1]))
"""


def test_processes_that_save_at_once_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _SAVE, str(tmp_path / "c.json")]
    both = [subprocess.Popen([*command, name]) for name in ("one", "two")]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(read_corrections(tmp_path / "c.json")[0]) == 24


def test_a_lock_that_is_held_says_so(tmp_path: Path) -> None:
    with (
        file_lock(tmp_path / "c.json"),
        pytest.raises(InputError, match=r"in use by another avloc for 0\.1 s"),
        file_lock(tmp_path / "c.json", timeout_s=0.1),
    ):
        raise AssertionError


def test_what_is_untouched_is_read_back_and_says_nothing(tmp_path: Path) -> None:
    one = VideoCorrections("dog", 9.0, (Instance(1.0, 2.0, "bark"),), untouched=(Instance(4.0, 5.0, "bark"),))
    write_corrections(tmp_path / "c.json", [one])
    assert read_corrections(tmp_path / "c.json")[0] == (one,)
    content = json.loads((tmp_path / "c.json").read_text())
    assert len(content["database"]["dog"]["annotations"]) == 2  # for readers of ground truth
    content["database"]["dog"]["checked"] = True
    (tmp_path / "c.json").write_text(json.dumps(content))
    (checked,) = read_corrections(tmp_path / "c.json")[0]
    assert (len(checked.present), checked.untouched) == (2, ())


@pytest.mark.parametrize(
    "entry",
    [
        {"annotations": [[1, 2.0004]], "points": [2.0003]},  # in milliseconds, the point is after the segment
        {"deleted": [[2.0006, 3]], "points": [2.0005], "checked": False},  # ... in what is deleted
        {"annotations": [[1, 2]], "deleted": [[1.0011, 2]], "checked": False},  # ... both are one
        {"annotations": [[1.4994, 1.501]], "points": [1.5006]},
    ],
)
def test_times_are_rounded_to_no_contradiction(tmp_path: Path, entry: dict[str, Any]) -> None:
    """A file that contradicts itself could not be read, nor saved to, again."""
    rows = {name: [{"label": "bark", "segment": s} for s in entry.get(name, [])] for name in ("annotations", "deleted")}
    points = [{"label": "bark", "time": t} for t in entry.get("points", [])]
    video = {"duration": 9.0, "checked": entry.get("checked", True), **rows, "points": points}
    saved = save_corrections(json.dumps({"database": {"dog": video}, "based_on": {}}).encode(), tmp_path / "c.json")
    (read,) = read_corrections(tmp_path / "c.json")[0]
    assert saved.versions == {"dog": version_of(read)}
    assert [p.time_s for p in read.points] == entry.get("points", [])


def test_a_refused_save_names_no_file_of_ours(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"^posted\.json: video 'x': expected a duration"):
        save_corrections(b'{"database": {"x": {"duration": -1}}}', tmp_path / "c.json")


def test_asking_whether_a_folder_is_locked_does_not_stop_who_locks_it(tmp_path: Path) -> None:
    """The page asks all the time; the retraining that it has started is not refused because of that."""
    with folder_lock(tmp_path):
        assert is_locked(tmp_path)
    probe = FileLock(tmp_path / LOCK_FILE, thread_local=False)
    probe.acquire()
    threading.Timer(0.1, probe.release).start()
    with folder_lock(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_without_locks_the_end_of_another_process_is_no_loss_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def acquire(*given: object, **named: object) -> None:
        raise NotImplementedError("no flock")

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with folder_lock(tmp_path), folder_lock(tmp_path):
        pass  # the inner one removes the owner's file of both
    assert "no locks on this disk" in caplog.text
