"""RUN/state.pt: training state for `--resume`, with a checksum; RUN/state.previous.pt: the state before it."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from avloc.errors import FormatError, InputError
from avloc.formats.untrusted.torch_files import check_torch
from avloc.model.files import PREVIOUS_FILE, STATE_FILE
from avloc.system.atomic import atomic_path
from avloc.system.outputs import discard

_STATE_LINE = b"avloc training state, sha256 "
_log = logging.getLogger("avloc.train")


def save_state(run: Path, state: Mapping[str, Any]) -> None:
    """Write a state of tensors, numbers, strings, lists and dicts with a checksum, and keep the previous one."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getbuffer()
    with atomic_path(run / STATE_FILE, keep=run / PREVIOUS_FILE) as part, part.open("wb") as file:
        file.write(_STATE_LINE + hashlib.sha256(content).hexdigest().encode() + b"\n")
        file.write(content)


def load_state(path: Path) -> dict[str, Any]:
    """Read a state; nothing in the file is executed.

    Raises:
        FormatError: it is damaged or not a training state.
    """
    try:
        if not path.is_file():
            raise OSError(None, "it is not a file")
        with path.open("rb") as file:
            line = file.readline(len(_STATE_LINE) + 65)
            content = file.read() if line.startswith(_STATE_LINE) else b""
    except OSError as error:
        raise FormatError(f"{path}: expected the training state of a run, cannot read it: {error.strerror}") from error
    if line != _STATE_LINE + hashlib.sha256(content).hexdigest().encode() + b"\n":
        raise FormatError(f"{path}: expected the training state of a run, its checksum does not match its content")
    try:
        check_torch(path, content)
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle.UnpicklingError for anything that is not plain data
        raise FormatError(f"{path}: refused, it contains more than a training state: {error}") from error
    return state


def has_state(run: Path) -> bool:
    """Whether there is a state or previous state to resume from."""
    return (run / STATE_FILE).exists() or (run / PREVIOUS_FILE).exists()


def latest_state(run: Path) -> dict[str, Any]:
    """The newest undamaged state of a run; warns if it is not the last one written.

    Raises:
        InputError: there is no state. FormatError: all are damaged.
    """
    if not has_state(run):
        raise InputError(f"{run}: nothing to resume, it has no {STATE_FILE}; start without --resume")
    damage = []
    if not (run / STATE_FILE).exists():
        damage.append(f"{run / STATE_FILE}: missing, perhaps the run was killed while replacing it")
    for name in (STATE_FILE, PREVIOUS_FILE)[len(damage) :]:
        try:
            state = load_state(run / name)
        except FormatError as error:
            damage.append(str(error))
            continue
        if damage:
            _log.warning("%s; resuming from the previous checkpoint, step %d", damage[0], state["step"])
        return state
    raise FormatError(f"{'; '.join(damage)}; there is nothing to resume from: start again with --overwrite")


def drop_states(run: Path) -> None:
    """Remove the states."""
    for name in (PREVIOUS_FILE, STATE_FILE):
        discard(run / name)
