"""RETRAINED/retrain.json: the state of a retraining, and from what it was made; paths relative to the folder.

RETRAINED/run/          the new run
RETRAINED/detections/   its detections
RETRAINED/learned.json  the corrections that it was trained on
RETRAINED/cancel        an empty file that asks the process that retrains to stop
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from avloc.errors import FormatError, InputError
from avloc.formats.json_file import parse_json
from avloc.system.atomic import atomic_write
from avloc.system.text import json_text, readable

STATE_FILE = "retrain.json"
CANCEL_FILE = "cancel"
LEARNED_FILE = "learned.json"
LOG_FILE = "retrain.log"
RUNNING, FINISHED, CANCELLED, FAILED = "running", "finished", "cancelled", "failed"


@dataclass(frozen=True)
class RetrainState:
    """How far a retraining is.

    Args:
        status: "running", "finished", "cancelled" or "failed". Whether it still runs says the lock of the folder.
        before, corrections: the detections and the file of corrections that it started from.
        step: "train" or "localize"; done, total: of that step.
        message: why it failed, or what is worth knowing of the result.
        learned: videos that were checked when it began.
    """

    status: str
    before: str
    corrections: str
    step: str = ""
    done: int = 0
    total: int = 0
    message: str = ""
    learned: tuple[str, ...] = ()


def write_state(folder: Path, state: RetrainState) -> None:
    atomic_write(folder / STATE_FILE, json_text(asdict(state), ensure_ascii=False, indent=1) + "\n")


def ask_cancel(folder: Path) -> None:
    """Ask the process that retrains in a folder to stop. Raises InputError if a file of others is in the place."""
    path = folder / CANCEL_FILE
    if os.path.lexists(path) and not cancel_asked(folder):
        raise InputError(f"{path}: there is a file that avloc did not write; move it away, and cancel again")
    path.touch()


def cancel_asked(folder: Path) -> bool:
    """Whether there is a request to stop: an empty file, so that a file of others is none."""
    path = folder / CANCEL_FILE
    return path.is_file() and not path.is_symlink() and not path.stat().st_size


def clear_cancel(folder: Path) -> None:
    """Remove the request to stop."""
    if cancel_asked(folder):
        (folder / CANCEL_FILE).unlink(missing_ok=True)


def read_state(folder: Path) -> RetrainState | None:
    """The state of a folder; None if none was retrained there.

    Raises:
        FormatError: the file is damaged.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        content = parse_json(path)
        state = RetrainState(**{**content, "learned": tuple(content.get("learned", ()))})
        if not isinstance(content.get("learned", []), list):
            raise ValueError("learned must be a list")
        texts = (state.status, state.before, state.corrections, state.step, state.message, *state.learned)
        if not all(isinstance(text, str) for text in texts) or not all(
            type(number) is int for number in (state.done, state.total)
        ):
            raise ValueError("wrong types")
        return state
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path}: expected what `avloc retrain` wrote ({error}); delete it") from error


def corrections_of(detections: Path) -> Path:
    """The file of corrections of a result: beside the detections, else the one that they were retrained with.

    The latter only where it is below the folder that holds both results: a result of somebody else names no other file.
    """
    home = detections if detections.is_dir() else detections.parent
    beside = home / "corrections.json"
    state = read_state(home.resolve().parent) if not beside.is_file() else None
    if state is None:
        return beside
    shared = (home.resolve().parent / state.corrections).resolve()
    return shared if shared.is_relative_to(home.resolve().parent.parent) else beside


def relative(path: Path, folder: Path) -> str:
    """A path as seen from a folder, for the state; absolute on another drive."""
    try:
        return readable(Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix())
    except ValueError:
        return readable(path.resolve())
