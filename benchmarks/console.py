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
    commands: Any, run: Callable[[argparse.Namespace], None], parents: Sequence[Any] = (), **options: Any
) -> argparse.ArgumentParser:
    """Add a command: named after the function, with its docstring as help and these options with their defaults."""
    text, raw = inspect.getdoc(run) or "", argparse.RawDescriptionHelpFormatter
    name, first = run.__name__.strip("_").replace("_", "-"), text.partition("\n")[0]
    parser = commands.add_parser(name, help=first, description=text, formatter_class=raw, parents=parents)
    add_options(parser, **options)
    parser.set_defaults(run=run)
    return parser


def add_options(parser: argparse.ArgumentParser, **options: Any) -> None:
    """Add options of the types of their defaults; those with default False are flags."""
    for name, default in options.items():
        typed = {"type": type(default), "default": default, "help": "default: %(default)s"}
        parser.add_argument(f"--{name.replace('_', '-')}", **({"action": "store_true"} if default is False else typed))


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
