"""`avloc ARGUMENTS` in this process: what a process of its own would say, without the seconds of its start."""

from __future__ import annotations

import contextlib
import io
from subprocess import CompletedProcess

import pytest

from avloc.cli import main


def exit_code(*arguments: object) -> int:
    """The exit code of `avloc ARGUMENTS`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["avloc", *map(str, arguments)])
        try:
            main()
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def avloc(*arguments: object) -> CompletedProcess[str]:
    """Exit code, stdout, stderr of `avloc ARGUMENTS`, as of `subprocess.run(..., capture_output=True, text=True)`."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = exit_code(*arguments)
    said = (stream.detach().getvalue().decode() for stream in (out, err))
    return CompletedProcess(["avloc", *map(str, arguments)], code, *said)
