"""Every measured figure in the README and the docs has the command that measured it, or a link to it, beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/benchmarks.md", "docs/clips.md", "docs/scale.md", "docs/reliability.md")
MEASURED = re.compile(r"^\|.*\d ?± ?\d.*\|$|^\|.*\[[+-]\d.*\|$", re.MULTILINE)
COMMAND = re.compile(r"python -m benchmarks\.\w+|^ {4}avloc |`avloc |`benchmarks\.\w+ |make demo|pytest", re.MULTILINE)
LINK = re.compile(r"\]\((docs/)?(benchmarks|decisions)\.md#|\]\(#")


def sections(text: str) -> list[tuple[str, str]]:
    """(heading, text) of every section, the text of a ### section with that of its ## section before its first ###."""
    found, chapter = [], ""
    for part in re.split(r"^(?=#{1,4} )", text, flags=re.MULTILINE):
        heading = part.partition("\n")[0]
        if heading.startswith("## "):
            chapter = part
        found.append((heading, part if heading.startswith(("# ", "## ")) else part + chapter))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_tables_with_measurements_name_their_command(page: str) -> None:
    bare = [
        heading
        for heading, text in sections((ROOT / page).read_text(encoding="utf-8"))
        if MEASURED.search(text) and not (COMMAND.search(text) or LINK.search(text))
    ]
    assert not bare, f"{page}: figures without a command or a link to it"


def test_a_table_without_a_command_is_found() -> None:
    text = (
        "## Speed\n\n| a | 1.0 ± 0.2 |\n\n## Quality\n\n    python -m benchmarks.quality table\n\n| a | 1.0 ± 0.2 |\n"
    )
    bare = [heading for heading, part in sections(text) if MEASURED.search(part) and not COMMAND.search(part)]
    assert bare == ["## Speed"]
