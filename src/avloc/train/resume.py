"""Train a run folder: start fresh, resume, or leave a finished run unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from avloc.config import RunConfig, differences
from avloc.config.arguments import checked
from avloc.errors import InputError
from avloc.model.checkpoint import is_whole
from avloc.model.files import RECORD_FILE
from avloc.system.allocator import freed_memory_kept
from avloc.train.loop import fit
from avloc.train.plan import plan
from avloc.train.prepare import changed_facts, require_same
from avloc.train.record import RunRecord, read_record
from avloc.train.state import has_state, latest_state
from avloc.types import OnMetrics, Progress, Say, Short


@dataclass(frozen=True, repr=False)
class TrainedRun(Short):
    """A finished run.

    Args:
        trained: whether this call trained it; False when it was finished before.
    """

    folder: Path
    record: RunRecord
    trained: bool


@checked()
def train(
    features: Path,
    labels: Path,
    out: Path,
    config: RunConfig,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    say: Say | None = None,
    corrections: Sequence[str | Path] | str | Path = (),
    on_metrics: OnMetrics | None = None,
) -> TrainedRun:
    """Train unless `out` is finished already. Arguments and errors as in `decide` and `train.loop.fit`."""
    files = [Path(file) for file in ([corrections] if isinstance(corrections, str | Path) else corrections)]
    start = decide(features, labels, out, config, resume, overwrite, files)
    if start == "finished":
        return TrainedRun(out, read_record(out), trained=False)
    with freed_memory_kept():
        record = fit(features, labels, out, config, start == "resume", progress, say, files, on_metrics)
    return TrainedRun(out, record, trained=True)


def outdated(features: Path, labels: Path, out: Path, config: RunConfig, corrections: Sequence[Path] = ()) -> bool:
    """Whether a run folder, finished or not, holds a run of other settings or other data.

    Raises:
        InputError, FormatError: the data cannot be trained on, or the run is damaged.
    """
    if (out / RECORD_FILE).exists():
        record = read_record(out)
        before, facts = RunConfig.model_validate(record.config), record.data
    elif has_state(out):
        state = latest_state(out)
        before, facts = RunConfig.model_validate_json(state["config"]), state.get("data", {})
    else:
        return False
    config, data = plan(features, labels, config, corrections)
    return bool(differences(before, config)) or (bool(facts) and bool(changed_facts(facts, data.facts)))


def decide(
    features: Path,
    labels: Path,
    out: Path,
    config: RunConfig,
    resume: bool = False,
    overwrite: bool = False,
    corrections: Sequence[Path] = (),
) -> Literal["fresh", "resume", "finished"]:
    """What to do with a run folder.

    Args:
        resume: continue an unfinished run, or one whose model file is damaged.
        overwrite: ignore an earlier run.

    Raises:
        InputError: the folder holds a finished run of another configuration or other data, or an unfinished run and
            neither `resume` nor `overwrite` is set; or it is `train.init_from`.
    """
    if config.train.init_from and _same_folder(Path(config.train.init_from), out) and not resume:
        raise InputError(f"{out} cannot start from itself: its weights are replaced; use another -o")
    if not overwrite and (out / RECORD_FILE).exists():
        record = read_record(out)
        config, data = plan(features, labels, config, corrections)
        differing = differences(RunConfig.model_validate(record.config), config)
        if differing:
            raise InputError(
                f"{out} is a finished run of other settings ({'; '.join(differing)}); use another -o, or --overwrite"
            )
        if record.data:  # records of earlier versions do not name the training data
            require_same(out, record.data, data.facts)
        if not resume or is_whole(out):
            return "finished"
    if not resume and not overwrite and has_state(out):
        raise InputError(f"{out} holds an unfinished run; go on with --resume, or start anew with --overwrite")
    return "resume" if resume else "fresh"


def _same_folder(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()
