"""Command lines and tables of all benchmarks."""

from __future__ import annotations

import argparse
import inspect
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["add_command", "markdown_table", "mean_sd", "run_command"]


def run_command(package: str, modules: Mapping[str, str], arguments: Sequence[str] | None = None) -> None:
    """Run a command of `python -m PACKAGE`. Only its module is imported: imports cost time and memory.

    Args:
        modules: {command: module of the package that adds it in `add_commands`}.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog=f"python -m {package}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    named = [modules[word] for word in arguments[:1] if word in modules]
    for module in named or dict.fromkeys(modules.values()):
        import_module(f"{package}.{module}").add_commands(commands)
    args = parser.parse_args(arguments)
    args.run(args)


def add_command(
    commands: Any, run: Callable[[argparse.Namespace], Any], *parents: argparse.ArgumentParser
) -> argparse.ArgumentParser:
    """Add a command named after the function; the function's docstring is its help."""
    text = inspect.getdoc(run) or ""
    parser = commands.add_parser(
        run.__name__.strip("_").replace("_", "-"),
        help=text.partition("\n")[0],
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=parents,
    )
    parser.set_defaults(run=run)
    return parser


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table with aligned columns."""
    table = Table(*head, box=box.MARKDOWN)
    for row in rows:
        table.add_row(*map(str, row))
    console = Console(width=10_000, markup=False, emoji=False, highlight=False, color_system=None)
    with console.capture() as text:
        console.print(table)
    return "\n".join(line.rstrip() for line in text.get().strip().splitlines()) + "\n"


def mean_sd(values: Sequence[float], digits: int = 1) -> str:
    """Scores in [0, 1] as percent: mean ± sample standard deviation over seeds; "" without values."""
    if not values:
        return ""
    mean = f"{100 * statistics.mean(values):.{digits}f}"
    return f"{mean} ± {100 * statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean
