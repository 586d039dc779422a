"""Output of the command line: errors in one line, progress on stderr, tables and summaries on stdout."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from avloc.errors import few_lines, one_line
from avloc.system.text import json_text
from avloc.types import Progress

_Result = TypeVar("_Result")


def percent(value: float) -> str:
    """A score in [0, 1] as percent: 44.8; "-" for NaN."""
    return "-" if value != value else f"{100 * value:.1f}"


def _on_one_line(record: logging.LogRecord) -> bool:
    """Log filter: names in messages cannot contain control characters."""
    record.msg, record.args = one_line(record.getMessage()), None
    return True


class _Once(logging.Filter):
    """Log filter: a message is shown once, though several steps of a command give it, and of a kind only the first 50.

    Debug messages, which --verbose asks for, are not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: set[str] = set()
        self._counts: Counter[tuple[str, int]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        text, kind = record.getMessage(), (record.name, record.lineno)
        if text in self._shown or self._counts[kind] >= _MOST_OF_A_KIND:
            return False
        self._shown.add(text)
        self._counts[kind] += record.levelno >= logging.WARNING
        if self._counts[kind] == _MOST_OF_A_KIND:
            record.msg, record.args = f"{text} (further messages of this kind are not shown)", None
        return True


_MOST_OF_A_KIND = 50
"""Log messages of one place in the source."""


class Talk:
    """Prints messages, tables, progress and summaries; only in the first of several processes.

    Args:
        quiet: errors only. verbose: debug messages. as_json: the summary is JSON on stdout, all else goes to stderr.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False, as_json: bool = False) -> None:
        self.first = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0
        self.quiet, self.as_json = quiet or not self.first, as_json
        self._parts: dict[str, Any] | None = None
        self.err = Console(stderr=True, highlight=False)
        self.out = Console(file=sys.stderr if as_json else sys.stdout, highlight=False)
        level = logging.DEBUG if verbose else logging.ERROR if self.quiet else logging.WARNING
        handler = RichHandler(console=self.err, show_time=False, show_path=False, markup=False)
        handler.addFilter(_Once())
        handler.addFilter(_on_one_line)
        root = logging.getLogger("avloc")
        root.handlers[:] = [handler]
        root.setLevel(level)

    def say(self, text: str) -> None:
        """Print a line, without markup or control characters: names of videos may hold either."""
        if not self.quiet:
            self.out.print(one_line(text), markup=False, soft_wrap=True)

    def notes(self, notes: Iterable[str]) -> None:
        """The first few notes, a line each, and the number of the others."""
        self.few(f"note: {note}" for note in notes)

    def few(self, lines: Iterable[str], rest: str = "") -> None:
        """Print the first few lines, and the number of the others."""
        for line in few_lines(lines, rest):
            self.say(line)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table, the first column left-aligned, the others right-aligned."""
        if self.quiet:
            return
        table = Table(title=title, title_justify="left")
        for k, column in enumerate(columns):
            table.add_column(column, justify="left" if k == 0 else "right")
        for row in rows:
            table.add_row(*map(one_line, row))
        self.out.print(table, markup=False)

    def summary(self, facts: dict[str, Any]) -> None:
        """The summary of --json; a command prints one document, see `part`."""
        if self._parts is not None:
            self._parts |= facts
        elif self.as_json and self.first:
            print(json_text(facts, ensure_ascii=False))

    @contextmanager
    def part(self, name: str = "") -> Iterator[None]:
        """Merge the summaries of a block into one: under a name, or at the same level."""
        around, self._parts = self._parts, {}
        try:
            yield
        finally:
            facts, self._parts = self._parts, around
            if facts:
                self.summary({name: facts} if name else facts)

    @contextmanager
    def progress(self, what: str) -> Iterator[Progress]:
        """A progress bar on a terminal; elsewhere a line every ten seconds."""
        if self.quiet:
            yield lambda done, total, text: None
        elif self.err.is_terminal:
            with self._bar() as bar:
                task = bar.add_task(what, total=None, note="")
                yield lambda done, total, text: bar.update(task, completed=done, total=total, note=one_line(text))
        else:
            yield self._lines(what)

    def watch(self, what: str, work: Callable[[Progress], _Result]) -> _Result:
        """Call `work` with its progress shown."""
        with self.progress(what) as progress:
            return work(progress)

    def _bar(self) -> Bar:
        return Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.err,
            transient=True,
        )

    def _lines(self, what: str) -> Progress:
        began = last = time.monotonic()

        def report(done: int, total: int, text: str) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= 10:
                last = now
                left = (now - began) / done * (total - done)
                line = ", ".join(filter(None, (f"{what}: {done}/{total}", f"{left:.0f} s left", text)))
                self.err.print(one_line(line), markup=False)

        return report
