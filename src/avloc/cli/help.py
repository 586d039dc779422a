"""Layout of `--help`: an example per line, and line breaks at spaces only."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

_WHOLE = "\ue000"
"""Replaces hyphens while text is wrapped, so that options are not split at them."""


_HelpFormatter: Any = typer.Context.formatter_class  # of click, or of the copy of click within typer


class _Formatter(_HelpFormatter):
    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args.replace("-", _WHOLE), prefix)

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", _WHOLE))

    def write_dl(self, rows: Any, *args: Any, **options: Any) -> None:
        super().write_dl([(name, text.replace("-", _WHOLE)) for name, text in rows], *args, **options)

    def getvalue(self) -> str:
        return str(super().getvalue()).replace(_WHOLE, "-")


class HelpContext(typer.Context):
    formatter_class = _Formatter


class HelpCommand(TyperCommand):
    """A command whose docstring has examples: paragraphs of lines that start with `avloc`."""

    context_class = HelpContext

    def __init__(self, *args: Any, help: str | None = None, **options: Any) -> None:
        super().__init__(*args, help="\n\n".join(map(_laid_out, (help or "").split("\n\n"))), **options)


def _laid_out(paragraph: str) -> str:
    """Examples under a heading; the backspace is click's mark of a paragraph that is not rewrapped."""
    if not paragraph.startswith("avloc "):
        return paragraph
    lines = paragraph.splitlines()
    return "\n  ".join(["\b\nExamples:" if len(lines) > 1 else "\b\nExample:", *lines])
