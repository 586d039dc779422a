"""docs/tour.md shows exactly the images its script makes, and its commands and their options exist."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import typer

from avloc.cli import app

DOCS = Path(__file__).parent.parent / "docs"
TEXTS = [(DOCS / name).read_text(encoding="utf-8") for name in ("tour.md", "exports.md")]
COMMANDS = [line.strip() for text in TEXTS for line in text.splitlines() if line.startswith("    avloc ")]


def test_pictures_are_those_of_the_script():
    sys.path.insert(0, str(DOCS))
    try:
        import make_tour
    finally:
        sys.path.remove(str(DOCS))
    shown = set(re.findall(r"\]\(images/([^)]+)\)", TEXTS[0]))
    assert shown == set(make_tour.PICTURES)
    for name in shown:
        assert (DOCS / "images" / name).stat().st_size < 400_000


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_can_be_typed(line):
    command = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    chosen = command.commands[words[0]]
    known = {name for parameter in chosen.params for name in (*parameter.opts, *parameter.secondary_opts)}
    used = {word for word in words[1:] if word.startswith("-")}
    assert used <= known, f"{line}: {used - known}"
