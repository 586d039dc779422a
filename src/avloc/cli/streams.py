"""Standard streams that cannot be written to, as on a full disk, end no work: what was lost is said at the end."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO, TypeVar

_T = TypeVar("_T")


class _Lasting(io.TextIOWrapper):
    """A stream whose `lost` is the first error of writing, after which nothing more is written.

    Errors are caught here and not in the raw stream below: a Ctrl-C that arrives in Python code under the buffer, right
    after a write, would make the buffer write the same again.
    """

    lost: OSError | None = None

    def write(self, text: str) -> int:
        return self._try(super().write, text) or len(text)

    def flush(self) -> None:
        self._try(super().flush)

    def _try(self, work: Callable[..., _T], *given: Any) -> _T | None:
        if self.lost is None:
            try:
                return work(*given)
            except OSError as error:
                self.lost = error
                null = os.open(os.devnull, os.O_WRONLY)  # for what is left in the buffer, written at the end
                os.dup2(null, self.fileno())
                os.close(null)
        return None


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
    return _Lasting(
        io.BufferedWriter(io.FileIO(number, "w", closefd=False)),
        encoding=getattr(stream, "encoding", None),
        errors=getattr(stream, "errors", "backslashreplace"),
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )


def lost_output() -> OSError | None:
    """Why text for the standard output could not be written; None if it was written."""
    if not isinstance(sys.stdout, _Lasting):
        return None
    sys.stdout.flush()
    return sys.stdout.lost
