"""Options of the comparisons, and computing missing answers with one process per job, each on one thread."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from avloc.cli.console import Talk
from avloc.config import parse_overrides
from avloc.errors import AvlocError
from avloc.system.isolate import NO_LIMITS, map_isolated
from avloc.system.text import pluralize
from benchmarks.console import add_options
from benchmarks.quality.models import Answer, Model, work

Task = tuple[Model | None, list[Answer], str]


def comparison_options() -> argparse.ArgumentParser:
    """A parent parser with the options of `table` and `collapse`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--sets", type=Path, nargs="+", required=True, metavar="FOLDER")
    parser.add_argument("-o", "--out", type=Path, default=Path("quality-out"))
    add_options(parser, jobs=1, embed_dim=256, steps=400, lr=5e-4, report_only=False)
    parser.add_argument("--selection", choices=["preset", "last", "video_ap", "mil"], default="preset")
    parser.add_argument("--set", dest="more", action="append", default=[], metavar="KEY=VALUE", help="for all methods")
    return parser


def overrides_of(args: argparse.Namespace) -> dict[str, Any]:
    """Settings shared by all methods."""
    settings = {
        "model.embed_dim": args.embed_dim,
        "train.steps": args.steps,
        "train.learning_rate": args.lr,
        **parse_overrides(args.more),
    }
    return settings if args.selection == "preset" else {**settings, "train.selection": args.selection}


def compute_missing(answers: Mapping[str, Answer], jobs: int, talk: Talk) -> list[str]:
    """Train the models and compute the answers that are missing; returns a line for each failure.

    Args:
        answers: {name in messages: answer}.
    """
    todo: dict[str, Task] = {}
    for name, answer in {answer.folder: (name, answer) for name, answer in answers.items()}.values():
        if answer.facts is None:
            key = answer.model.key if answer.model else answer.folder.name
            todo.setdefault(key, (answer.model, [], name))[1].append(answer)
    talk.say(f"{pluralize(len(todo), 'model')} to train or evaluate, {jobs} at a time")
    failed = []
    for done, (name, outcome) in enumerate(_outcomes(list(todo.values()), jobs), start=1):
        if isinstance(outcome, str):
            failed.append(f"{name}: {outcome}")
        talk.say(f"[{done}/{len(todo)}] {name}: {outcome if isinstance(outcome, str) else f'{outcome:.1f} s'}")
    return failed


def _outcomes(todo: Sequence[Task], jobs: int) -> Iterator[tuple[str, float | str]]:
    if jobs == 1:
        for task in todo:
            yield task[2], _attempt(task)
        return
    for (_, _, name), outcome in map_isolated(_attempt, todo, jobs, NO_LIMITS):
        died = isinstance(outcome, AvlocError)
        yield name, "its process died twice, perhaps out of memory; run again with fewer --jobs" if died else outcome


@contextmanager
def _quiet_on_one_thread() -> Iterator[None]:
    log = logging.getLogger("avloc")
    threads, level = torch.get_num_threads(), log.level
    torch.set_num_threads(1)
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        log.setLevel(level)


def _attempt(task: Task) -> float | str:
    """Seconds taken, or the error message."""
    model, answers, _ = task
    with _quiet_on_one_thread():
        try:
            return work(model, answers)
        except AvlocError as error:
            return str(error)
