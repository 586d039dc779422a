"""The code that runs in an isolated process, and its messages to and from `isolate`.

A message is its length (8 bytes) and a pickle; an empty one is a heartbeat. Both ends belong to the same program:
nothing from a file is ever unpickled.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import struct
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError

_HEAD = struct.Struct("<Q")


def heartbeat() -> None:
    """Report progress to the parent process, at most once a second; no effect outside an isolated process."""
    if _Child.current is not None:
        _Child.current.beat()


class _Child:
    """Receives tasks and sends results, in an isolated process."""

    current: _Child | None = None

    def __init__(self) -> None:
        self.inbox, self.outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)  # output that libraries print must not mix with the messages
        self.tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.last = time.monotonic()

    def beat(self) -> None:
        if time.monotonic() - self.last > 1:
            self.last = time.monotonic()
            _send_raw(self.outbox, b"")

    def listen(self) -> None:
        """Thread: queue tasks as they arrive; exit when the pipe closes, i.e. when the parent is gone."""
        while (raw := receive(self.inbox)) is not None:
            self.tasks.put(raw)
        os._exit(0)

    def work(self) -> None:
        while True:
            raw, item = self.tasks.get(), None
            try:
                function, item = pickle.loads(raw)
                _send_raw(self.outbox, b"")  # the timeout starts here, after the imports
                self.last = time.monotonic()
                result = True, function(item)
            except AvlocError as error:
                result = False, error
            except Exception as error:
                result = False, _portable(error, item)
            send(self.outbox, result)


def serve() -> None:
    """Main loop of an isolated process: call each function received and send its result, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    _Child.current = _Child()
    threading.Thread(target=_Child.current.listen, daemon=True).start()
    _Child.current.work()


def send(pipe: Any, message: Any) -> None:
    """Write a message."""
    _send_raw(pipe, pickle.dumps(message))


def _send_raw(pipe: Any, raw: bytes) -> None:
    pipe.write(_HEAD.pack(len(raw)) + raw)
    pipe.flush()


def receive(pipe: Any) -> bytes | None:
    """The next message, still pickled; None when the other end is closed."""
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    size = _HEAD.unpack(head)[0]
    raw = pipe.read(size)
    return raw if len(raw) == size else None


def _portable(error: Exception, item: Any) -> Exception:
    """The error with its traceback as a note; a RuntimeError of the traceback if the error cannot be pickled."""
    with contextlib.suppress(Exception):
        error.add_note(f"while processing {item_name(item)} in an isolated process:\n{traceback.format_exc()}")
        return pickle.loads(pickle.dumps(error))
    return RuntimeError(traceback.format_exc())


def item_name(item: Any) -> str:
    """Name of an item for messages: its path, or the first path in it."""
    parts = item if isinstance(item, tuple | list) else [getattr(item, "path", item)]
    return str(next((part for part in parts if isinstance(part, Path)), parts[0] if parts else item))
