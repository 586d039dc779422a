"""Standard streams that cannot be written to, as on a full disk, end no work: what was lost is said at the end."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO


class _Lasting(io.FileIO):
    """A stream on a file descriptor; `lost` is the first error of writing, after which nothing more is written."""

    lost: OSError | None = None

    def write(self, content: Any) -> Any:
        if self.lost is None:
            try:
                return super().write(content)
            except OSError as error:
                self.lost = error
        return memoryview(content).nbytes


def keep_streams() -> None:
    """Make writing to the standard output and the standard error never fail; call before anything is printed.

    Streams that the caller has closed are opened on the null device, as by gnulib's `stdopen`: otherwise the next file
    that is opened gets their number, and what libraries print goes into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the lowest free number; in the wrong direction, so that using it is an error
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY if number else os.O_WRONLY), True)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream: TextIO | None = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):  # not if replaced, as in tests
            setattr(sys, name, _lasting(number, stream))


def _lasting(number: int, stream: Any) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(_Lasting(number, "w", closefd=False)),
        encoding=getattr(stream, "encoding", None),
        errors=getattr(stream, "errors", "backslashreplace"),
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )


def lost_output() -> OSError | None:
    """Why text for the standard output could not be written; None if it was written."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(raw, _Lasting):
        return None
    sys.stdout.flush()
    return raw.lost
