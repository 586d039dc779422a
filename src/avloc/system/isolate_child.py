"""The process that `guard` guards: it calls what comes in and sends back what comes out; and how the two talk.

A message is its length (8 bytes) and a pickle; an empty one says only that work goes on. Both ends are ours, and of one
program: nothing from a file is ever unpickled.
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

__all__ = ["heartbeat", "item_name", "receive", "send", "serve"]

_HEAD = struct.Struct("<Q")


def heartbeat() -> None:
    """Say that work goes on; cheap, and of no effect outside a isolated process."""
    if _Child.current is not None:
        _Child.current.beat()


class _Child:
    """The other end, in a isolated process."""

    current: _Child | None = None

    def __init__(self) -> None:
        self.inbox, self.outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)  # what libraries print must not come between the answers
        self.tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.last = time.monotonic()

    def beat(self) -> None:
        if time.monotonic() - self.last > 1:
            self.last = time.monotonic()
            _send_raw(self.outbox, b"")

    def listen(self) -> None:
        """Of a thread: whoever started this process is gone when there is nothing more to read."""
        while (raw := receive(self.inbox)) is not None:
            self.tasks.put(raw)
        os._exit(0)

    def work(self) -> None:
        while True:
            raw, item = self.tasks.get(), None
            try:
                function, item = pickle.loads(raw)
                _send_raw(self.outbox, b"")  # its clock starts now, not when it was still importing
                self.last = time.monotonic()
                answer = True, function(item)
            except AvlocError as error:
                answer = False, error
            except Exception as error:
                answer = False, _portable(error, item)
            send(self.outbox, answer)


def serve() -> None:
    """What a isolated process does: call what comes in, send what comes out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started it
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
    """The next message as it came; None when the other end is gone."""
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    size = _HEAD.unpack(head)[0]
    raw = pipe.read(size)
    return raw if len(raw) == size else None


def _portable(error: Exception, item: Any) -> Exception:
    """An error of ours as it was, with where it happened in its notes; as a RuntimeError when it cannot travel."""
    with contextlib.suppress(Exception):
        error.add_note(f"while working on {item_name(item)}, in a process of its own:\n{traceback.format_exc()}")
        return pickle.loads(pickle.dumps(error))
    return RuntimeError(traceback.format_exc())


def item_name(item: Any) -> str:
    """Of an item, for people: its path, or the first path in it."""
    parts = item if isinstance(item, tuple | list) else [getattr(item, "path", item)]
    return str(next((part for part in parts if isinstance(part, Path)), parts[0] if parts else item))
