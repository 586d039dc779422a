"""Retraining as a job of the page: one child process at a time, `avloc retrain` with paths known to the server.

The process goes on when the server ends; its state is in the folder that it writes, and whether it runs says
the lock of that folder. So a server that is started later shows what is true.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError, InputError
from avloc.evaluate.changes import VideoChanges, result_changes
from avloc.formats.json_file import parse_json
from avloc.formats.results import find_results
from avloc.formats.retraining import (
    CANCELLED,
    FINISHED,
    LOG_FILE,
    RUNNING,
    RetrainState,
    ask_cancel,
    clear_cancel,
    read_state,
)
from avloc.report.page.build import build_page
from avloc.report.retraining import RetrainInputs, find_inputs, next_folder, retrained_folders, retrained_home
from avloc.report.serve.answers import Answer
from avloc.report.sources import PageSources
from avloc.system.locks import file_lock, is_held, is_locked, open_held
from avloc.system.outputs import claim, output_folder
from avloc.types import Detection

_GRACE_S = 20.0
"""After a request to cancel, the process is killed if it still runs."""

_MOST = 300
"""Characters of a text of unknown origin in a message."""

_LOG_END = 1 << 16
"""Bytes of the log in which its last line is sought."""

STOPPED = "stopped"
"""Status of a job that says it runs while no process holds its folder: it was killed, or the machine went down."""


@dataclass
class _Page:
    """The page of a retrained result: being built, built, or failed."""

    done: int = 0
    total: int = 0
    ready: bool = False
    problem: str = ""


@dataclass
class Retrainer:
    """Starts, watches and cancels retraining, and builds the pages of new results.

    Args:
        sources: of the page that is served.
        corrections: the file that it saves to.
        page: folder of that page; pages of new results become subfolders.
        served: {URL path: file}; videos of new pages are added.
        proxy, workers: as in `build_page`.
    """

    sources: PageSources
    corrections: Path
    page: Path
    served: dict[str, Path]
    proxy: Any = "auto"
    workers: int = 1
    pages: dict[str, _Page] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._busy = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._told: dict[tuple[str, int], dict[str, Any]] = {}
        self.home = retrained_home(self.sources.detections)

    def state(self) -> Answer:
        """What can be done, and the last job: its progress, and what changed."""
        try:
            self._inputs("")
            why = ""
        except AvlocError as error:
            why = str(error)
        with self._busy:
            try:
                job = self._job()
            except (AvlocError, OSError) as error:  # OSError: a path in the state is none of this system
                return HTTPStatus.OK, {"possible": not why, "why": why, "job": None, "problem": str(error)[:_MOST]}
        return HTTPStatus.OK, {"possible": not why, "why": why, "job": job}

    def act(self, content: bytes) -> Answer:
        """Perform {"action": "start", "from": page}, {"action": "cancel"} or {"action": "open", "name": result}."""
        try:
            asked = parse_json("the action", content)
            actions = {"start": self._start, "cancel": self._cancel, "open": self._open}
            action, name = actions[asked["action"]], str(asked.get("name", ""))
        except (AvlocError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return HTTPStatus.BAD_REQUEST, {"message": "expected an action: start, cancel or open"}
        try:
            with self._busy:
                problem = action(name)
        except AvlocError as error:
            return HTTPStatus.BAD_REQUEST, {"message": str(error)}
        return (HTTPStatus.CONFLICT, {"message": problem}) if problem else self.state()

    def _start(self, name: str) -> str:
        """Start a retraining of the result of this name; returns why not."""
        inputs = self._inputs(name)
        if not self.corrections.is_file():
            return "there are no corrections yet: correct a video, and save"
        with file_lock(self.home / "retrained"):  # of this and other servers, one starts
            return self._start_alone(inputs)

    def _start_alone(self, inputs: RetrainInputs) -> str:
        if self._running() is not None or self._alive():
            return "a retraining runs already"
        folder = next_folder(self.home)
        try:
            with output_folder(folder, own=True, shared=True):
                claim(folder / LOG_FILE)
            clear_cancel(folder)
            (folder / LOG_FILE).unlink(missing_ok=True)  # it may be a link
            with open_held(folder / LOG_FILE) as log:
                self._child = subprocess.Popen(
                    self._command(inputs, folder),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C ends the server, not the job
                    env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | os.environ,
                )
        except OSError as error:
            raise InputError(f"{folder}: the retraining cannot be started: {error.strerror}") from error
        threading.Thread(target=self._child.wait, daemon=True).start()  # its end is noticed though nobody asks
        self._folder = folder
        self.pages.pop(folder.name, None)
        return ""

    def _command(self, inputs: RetrainInputs, folder: Path) -> list[str]:
        options = {"run": inputs.run, "features": inputs.features, "labels": inputs.labels}
        files = [f"--{name}={path.resolve()}" for name, path in options.items()]
        files += [f"--corrections={self.corrections.resolve()}", f"--out={folder}"]
        return [sys.executable, "-P", "-m", "avloc", "retrain", str(inputs.detections.resolve()), *files]

    def _cancel(self, name: str) -> str:
        folder = self._running()
        child = self._child if self._alive() else None
        if child is not None and (folder is None or not is_locked(folder)):  # not far enough to notice the file
            child.terminate()
            return ""
        if folder is not None:
            ask_cancel(folder)
        if child is not None:
            killer = threading.Timer(_GRACE_S, child.kill)
            killer.daemon = True
            killer.start()
        return "" if folder is not None or child is not None else "no retraining runs"

    def _open(self, name: str) -> str:
        """Build the page of a finished result, beside the page of the one that it was made from."""
        folder = self._named(name)
        state = read_state(folder) if folder is not None else None
        if folder is None or state is None or state.status != FINISHED:
            return f"there is no finished result {name[:_MOST]!r}"
        known = self.pages.get(name)
        if known is None or known.problem:
            self.pages[name] = _Page()
            threading.Thread(target=self._build, args=(folder, _before(folder, state)), daemon=True).start()
        return ""

    def _build(self, folder: Path, before: Path) -> None:
        page = self.pages[folder.name]

        def progress(done: int, total: int, text: str) -> None:
            page.done, page.total = done, total

        sources = replace(
            self.sources,
            detections=folder / "detections",
            compare=(before,),
            run=None,
            audio=None,
            visual=None,
            corrections=self.corrections if self.corrections.is_file() else None,
        )
        try:
            built = build_page(sources, self.page / folder.name, self.proxy, "serve", self.workers, progress)
            self.served.update({f"{folder.name}/{url}": file for url, file in built.served.items()})
            page.ready = True
        except (AvlocError, OSError) as error:
            page.problem = str(error)[:_MOST]
        except Exception as error:
            page.problem = f"{type(error).__name__}: {error}"
            raise

    def _inputs(self, name: str) -> RetrainInputs:
        """What the result behind a page is retrained from. Raises InputError if the page is unknown."""
        if not name:
            return find_inputs(self.sources)
        folder = self._named(name)
        if folder is None:
            raise InputError(f"{name[:_MOST]!r} is no result of this page")
        return find_inputs(replace(self.sources, detections=folder / "detections", run=folder / "run"))

    def _named(self, name: str) -> Path | None:
        """The retrained result of this name."""
        return next((path for path in retrained_folders(self.home) if path.name == name), None)

    def _running(self) -> Path | None:
        """The result that a process works on, or that one was started for."""
        folders = retrained_folders(self.home)
        return next((f for f in folders if is_locked(f) or is_held(f / LOG_FILE)), None)

    def _alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def _job(self) -> dict[str, Any] | None:
        """The job that runs, else the last one."""
        folders = retrained_folders(self.home)
        if not folders:
            return None
        folder = self._running() or folders[-1]
        locked = is_locked(folder)
        starting = is_held(folder / LOG_FILE) or (self._alive() and folder == self._folder)
        state = read_state(folder)
        if state is None and not (locked or starting or (folder / LOG_FILE).is_file()):
            return None  # a folder of others
        if locked or starting:
            status = RUNNING
        elif state is None or state.status == RUNNING:
            status = CANCELLED if self._ended(folder) == -15 else STOPPED
        else:
            status = state.status
        stale = starting and not locked  # the state is of an earlier attempt
        facts = {} if state is None or stale else asdict(state)
        job = {"step": "start", "done": 0, "total": 0, "message": "", **facts, "status": status, "name": folder.name}
        if status == STOPPED:
            job["message"] = _last_line(folder / LOG_FILE) or "the process ended before it was done"
        if status == FINISHED and state is not None:
            job["changes"] = self._changes(folder, _before(folder, state))
        page = self.pages.get(folder.name)
        return {**job, "page": None if page is None else asdict(page)}

    def _ended(self, folder: Path) -> int | None:
        return self._child.poll() if self._child is not None and folder == self._folder else None

    def _changes(self, folder: Path, before: Path) -> dict[str, Any] | None:
        new = find_results(folder / "detections")
        key = folder.name, new.table.stat().st_mtime_ns
        if key not in self._told:
            old, now = find_results(before).read().likely().detections, new.read().likely().detections
            changes = result_changes(old, now)
            self._told[key] = {v: _told(old.get(v, ()), now.get(v, ()), c) for v, c in changes.items()}
        return self._told[key]


def _before(folder: Path, state: RetrainState) -> Path:
    """The detections that a retraining started from."""
    return Path(os.path.normpath(folder / state.before))


def _told(old: tuple[Detection, ...], new: tuple[Detection, ...], changes: VideoChanges) -> dict[str, Any]:
    rows: Mapping[str, tuple[Detection, ...]] = {"before": old, "after": new}
    return {
        "same": changes.same,
        "moved": len(changes.moved),
        "added": len(changes.added),
        "lost": len(changes.lost),
        "shift_s": changes.shift_s,
        **{name: [[d.start_s, d.end_s, d.label, d.score] for d in found] for name, found in rows.items()},
    }


def _last_line(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_END))
            lines = file.read(_LOG_END).decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:_MOST] for line in reversed(lines) if line.strip()), "")
