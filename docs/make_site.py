"""Hook of mkdocs: the README is the first page, and the changelog and the benchmarks' README are pages, too.

They stay where readers of a checkout look for them; their links are brought to the site's folders.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {"index.md": "README.md", "CHANGELOG.md": "CHANGELOG.md", "benchmarks-commands.md": "benchmarks/README.md"}


def on_config(config: Any) -> Any:
    """Anchors as forges make them, so that a link within the documentation works in both."""
    config.mdx_configs["toc"]["slugify"] = lambda title, _: re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are outside docs/."""
    for name, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        text = re.sub(r"\]\((?:docs/|\.\./docs/)", "](", text)
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to the benchmarks' README."""
    return markdown.replace("(../benchmarks/README.md", "(benchmarks-commands.md")
