"""OUT/job.json as a stranger may have left it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from avloc.errors import FormatError
from avloc.workflow.memory import read_memory


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "3", "[" * 100_000, '{"sizes": {}', '{"unknown": 1}'),
        *(json.dumps({key: 3}) for key in ("sizes", "trained", "labels", "settings", "videos", "finished")),
        *('{"videos": [[]]}', '{"videos": [null]}', '{"labels": {"v": {}}}'),
    ],
)
def test_a_memory_that_is_none_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "job.json").write_text(content)
    with pytest.raises(FormatError, match="move it away"):
        read_memory(tmp_path / "job.json")


def test_names_that_are_none_are_said_without_the_checks_of_types(tmp_path: Path) -> None:
    """The tests check the types of all arguments, users' processes do not."""
    (tmp_path / "job.json").write_text('{"videos": [[]]}')
    code = "import sys; from pathlib import Path; from avloc.workflow.memory import *; read_memory(Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "job.json"], capture_output=True, text=True)
    assert "move it away" in done.stderr
