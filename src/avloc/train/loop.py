"""The training loop; resumes from any validation, and gives the same result on one process or many."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from avloc.config import RunConfig
from avloc.errors import few_lines
from avloc.model.checkpoint import ModelCard
from avloc.model.files import CONFIG_FILE
from avloc.system.atomic import atomic_write
from avloc.train.checkpointer import Checkpointer
from avloc.train.checks import clear, require_finite, require_finite_weights, run_lock
from avloc.train.dataset import PairSampler
from avloc.train.distributed import launch, mean_over_processes, share_of
from avloc.train.learner import Learner, learner_of
from avloc.train.metrics_log import MetricsLog, warnings_of
from avloc.train.plan import introduction, plan, rare_classes, time_left
from avloc.train.prepare import TrainingData
from avloc.train.record import RunRecord, write_record
from avloc.train.step import training_step
from avloc.train.validate import validate
from avloc.types import OnMetrics, Progress, Say

_TIMED = 4  # steps after which the time of the run is estimated; the first one is slower and does not count
_log = logging.getLogger("avloc.train")


def fit(
    features: Path,
    labels: Path,
    out: Path,
    config: RunConfig,
    resume: bool = False,
    progress: Progress | None = None,
    say: Say | None = None,
    corrections: Sequence[Path] = (),
    on_metrics: OnMetrics | None = None,
) -> RunRecord:
    """Train a model on video-level labels and write a run folder.

    Args:
        features: folder of feature files. labels: labels.csv. out: the run folder, created if missing.
        config: all options; those named in `train.auto` are derived from the data.
        resume: continue from the last validation in `out`; the result is the same as without the interruption.
        progress: called with (step, steps, loss) after each step.
        say: called with sentences about the run at its start; by default they are logged at level INFO.
        corrections: files of corrections, as in `interchange.corrections.read_correction_files`.
        on_metrics: called with (step, {name: value}) for each row of metrics.jsonl, by the first process.

    Returns:
        The record of the run, as written to out/record.json.

    Raises:
        InputError, FormatError, ConfigError: features, labels, run folder or options are invalid.
        TrainingError: a loss or weight is not finite. StorageError: the disk is full or unavailable. Earlier
            checkpoints remain.
    """
    config, data = plan(features, labels, config, corrections)
    fabric = launch(config.train, len(data.train))
    config = _as_extracted(config, data)
    sizes = data.train.audio_size, data.train.visual_size
    card = ModelCard(
        config,
        data.train.classes,
        *sizes,
        data.backbones,
        backbone_normalize=data.normalize,
        versions=data.versions,
    )
    with run_lock(fabric, out):
        first_process = fabric.is_global_zero
        learner = learner_of(fabric, card, data.train)
        checkpointer = Checkpointer(out, card, learner, data.facts)
        if resume:
            checkpointer.restore(rewrite=first_process)
        elif first_process:
            clear(out)
        if first_process:
            for note in few_lines(filter(None, (*data.notes, rare_classes(data)))):
                _log.warning("%s", note)
            atomic_write(out / CONFIG_FILE, config.to_yaml())
            say = say or _log.info
            say(introduction(config, data))
        with closing(MetricsLog(out, checkpointer.step, on_metrics)) if first_process else nullcontext() as log:
            _train(fabric, learner, data, config, checkpointer, log, progress, say)
        fabric.barrier()
        return write_record(
            out, card, log.rows if log else [], checkpointer.best, checkpointer.best_step, data, corrections
        )


def _train(
    fabric: Fabric,
    learner: Learner,
    data: TrainingData,
    config: RunConfig,
    checkpointer: Checkpointer,
    log: MetricsLog | None,
    progress: Progress | None,
    say: Say | None,
) -> None:
    """Train from the last saved step until the steps are done or the score has stalled.

    Only the first process has a log; it validates and saves while others wait.
    """
    options, train, out = config.train, data.train, checkpointer.out
    sampler = PairSampler(
        train.labels,
        options.batch_size,
        options.pair_fraction,
        options.seed,
        train.corrected,
        options.correction_share,
    )
    first, began = checkpointer.step, time.monotonic()
    for step in range(first, options.steps):
        if options.patience and step % options.eval_every == 0 and fabric.broadcast(checkpointer.stalled):
            break
        drawn = sampler.batch(step)
        mine = share_of(fabric, drawn)
        batch = train.batch(mine, options.snippets, (options.seed, 4, step)).to(fabric.device)
        _seed(options.seed, 5, step, fabric.global_rank)
        learner.model.train()
        result = training_step(fabric, learner, batch, config, step)
        learner.optimizer.zero_grad(set_to_none=True)
        fabric.backward(result.total)
        row = mean_over_processes(fabric, {**result.values, "train/gradient_norm": learner.gradient_norm()})
        names, own = ([train.ids[i] for i in of] for of in (drawn, mine))
        require_finite(row, step + 1, options.precision == "16-mixed", out, names, result.output, own)
        if options.grad_clip:
            fabric.clip_gradients(learner.model, learner.optimizer, max_norm=options.grad_clip)
        learner.update()
        del batch, result  # frees memory for validation and the next step

        done = step + 1
        if done == first + 1:
            warm = time.monotonic()
        if log is not None and say is not None and done == first + _TIMED:
            step_s = (time.monotonic() - warm) / (_TIMED - 1)
            say(f"training takes {time_left(step_s * (options.steps - done))}")
        if done % options.eval_every == 0 or done == options.steps:
            for network in dict.fromkeys((learner.module, learner.eval_model)):  # one network without a teacher
                require_finite_weights(network, out)
            if log is not None:
                step_s = (time.monotonic() - began) / (done - first)
                found = validate(learner.eval_model, data, config.loss, fabric.device)
                log.write(done, {**row, **found.values, "train/step_s": step_s})
                log.flush()
                if done >= options.steps / 4:
                    for sentence in warnings_of(found.values):
                        _log.warning("step %d: %s", done, sentence)
                checkpointer.save(done, found.score(options.selection))
            fabric.barrier()
        elif log is not None and (done % 10 == 0 or done == 1):
            log.write(done, row)
        if progress is not None and fabric.is_global_zero:
            progress(done, options.steps, f"loss {row['loss/total']:.3f}")


def _as_extracted(config: RunConfig, data: TrainingData) -> RunConfig:
    """The configuration with the features' backbones, step and fps, so that later videos are extracted alike."""
    made: dict[str, Any] = {name: data.backbones.get(name) for name in ("visual", "audio")}
    made["fps"] = config.extract.fps if data.fps is None else data.fps
    if config.extract.step != data.step_s or config.extract.fps != made["fps"]:  # else as configured
        made |= {"step_s": float(data.step_s), "frames_per_snippet": None}
    return config.model_copy(update={"extract": config.extract.model_copy(update=made)})


def _seed(*words: int) -> None:
    """Make dropout a function of (seed, step, process): resuming is exact without saving random states."""
    high, low = np.random.SeedSequence(words).generate_state(2)
    torch.manual_seed(int(high) << 31 ^ int(low))
