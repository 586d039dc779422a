"""Computing what is missing, one process a job, each on one thread."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from avloc.cli.console import Talk
from avloc.config import parse_overrides
from avloc.errors import AvlocError
from avloc.system.pool import pool
from quality_models import Answer, Model, work

__all__ = ["add_options", "compute_missing", "overrides_of"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every measurement asks: which sets, how often, how long, where."""
    parser.add_argument("--sets", type=Path, nargs="+", required=True, metavar="FOLDER", help="see the top of the file")
    parser.add_argument("-o", "--out", type=Path, default=Path("quality-out"))
    parser.add_argument("--jobs", type=int, default=1, help="processes, each on one thread")
    parser.add_argument("--embed-dim", type=int, default=256)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--selection", choices=["preset", "last", "video_ap", "mil"], default="preset")
    parser.add_argument("--set", dest="more", action="append", default=[], metavar="KEY=VALUE", help="for all methods")
    parser.add_argument("--report-only", action="store_true", help="of what is there; compute nothing")


def overrides_of(given: argparse.Namespace) -> dict[str, Any]:
    """The settings that hold for every method."""
    settings = {
        "model.embed_dim": given.embed_dim,
        "train.steps": given.steps,
        "train.learning_rate": given.lr,
        **parse_overrides(given.more),
    }
    return settings if given.selection == "preset" else {**settings, "train.selection": given.selection}


def compute_missing(answers: Mapping[str, Answer], jobs: int, talk: Talk) -> list[str]:
    """Train and answer what is not there yet; returns a sentence for everything that failed.

    Args:
        answers: {what it is called in words: an answer}.
    """
    todo: dict[str, tuple[Model | None, list[Answer], str]] = {}
    for name, answer in {answer.folder: (name, answer) for name, answer in answers.items()}.values():
        if answer.facts is None:
            key = answer.model.key if answer.model else answer.folder.name
            todo.setdefault(key, (answer.model, [], name))[1].append(answer)
    talk.say(f"{len(todo)} models to train or ask, {jobs} at a time")
    failed = []
    for done, (name, outcome) in enumerate(_outcomes(list(todo.values()), jobs), start=1):
        if isinstance(outcome, str):
            failed.append(f"{name}: {outcome}")
        talk.say(f"[{done}/{len(todo)}] {name}: {outcome if isinstance(outcome, str) else f'{outcome:.1f} s'}")
    return failed


def _outcomes(todo: Sequence[tuple[Model | None, list[Answer], str]], jobs: int) -> Iterator[tuple[str, float | str]]:
    if jobs == 1:
        for model, answers, name in todo:
            yield name, _attempt(model, answers)
        return
    with pool(jobs) as workers:
        flying = {workers.submit(_attempt, model, answers): name for model, answers, name in todo}
        for future in as_completed(flying):
            try:
                yield flying[future], future.result()
            except BrokenProcessPool:
                yield flying[future], "a process died, perhaps of memory; run it again with fewer --jobs"


@contextmanager
def _alone() -> Iterator[None]:
    """One thread and no talk, and afterwards as it was."""
    log = logging.getLogger("avloc")
    threads, level = torch.get_num_threads(), log.level
    torch.set_num_threads(1)
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        log.setLevel(level)


def _attempt(model: Model | None, answers: Sequence[Answer]) -> float | str:
    """Seconds, or the reason why not."""
    with _alone():
        try:
            return work(model, answers)
        except AvlocError as error:
            return str(error)
