"""One video: extract, save, and say how it went."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

from avloc.config import ExtractConfig
from avloc.errors import AvlocError, InputError, StorageError
from avloc.features import layout as layouts
from avloc.features.backbones import AudioBackbone, Backbone, Setup, VisualBackbone, card, load_backbone
from avloc.features.layout import Layout
from avloc.features.manifest import Row
from avloc.features.video import extract_features
from avloc.features.weights import digest, find, resolve
from avloc.media.find import BY_FILE, VideoNames
from avloc.media.probe import probe
from avloc.system.text import printable, readable
from avloc.types import FeatureSequence

__all__ = ["Job", "check_options", "describe", "extract_one", "failed", "weight_hashes", "work"]

_log = logging.getLogger("avloc.extract")


@dataclass(frozen=True)
class Job:
    """What is done with each video; travels to processes and machines.

    Args:
        threads: of the picture decoder; 0 lets ffmpeg choose.
        names: what the videos are called.
    """

    out: Path
    options: ExtractConfig
    layout: Layout = "safetensors"
    threads: int = 0
    names: VideoNames = BY_FILE


def extract_one(path: Path, options: ExtractConfig, threads: int = 0, names: VideoNames = BY_FILE) -> FeatureSequence:
    """Features of one video with the backbones that `options` name.

    Raises:
        MediaError: it cannot be opened, or too little of it decoded.
        InputError: no such backbone, its weights are missing, or both are none; or its name is not UTF-8.
    """
    _need_one(options)
    _check_name(path, names(path))
    visual = cast(VisualBackbone, _backbone(options.visual, _key(options))) if options.visual else None
    audio = cast(AudioBackbone, _backbone(options.audio, _key(options))) if options.audio else None
    media = probe(path, names(path))
    return extract_features(media, visual, audio, options.step, frame_rate=options.fps, threads=threads)


def _check_name(path: Path, name: str) -> None:
    """A name that is no text cannot be that of a video: no table could hold it."""
    if printable(name) != name:
        raise InputError(f"{readable(path)}: its name is not UTF-8, so it cannot name a video; rename the file")


def check_options(options: ExtractConfig, load: bool = True) -> None:
    """Find out before the first video what would fail at each: names, modules, weights (fetched once, here).

    Args:
        load: whether the backbones are also made here; not where other machines do the work, and have the GPUs.

    Raises:
        InputError: says what is missing and where to put it.
    """
    _need_one(options)
    if load and options.device not in ("auto", "cpu"):  # also said where no backbone asks for it
        from avloc.features.backbones.network import find_device

        find_device(options.device)
    known: set[str] = set()
    for modality in ("visual", "audio"):
        name = getattr(options, modality)
        if name is None:
            continue
        entry = card(name)
        if entry.modality not in (modality, "?"):
            raise InputError(f"expected a backbone for {modality}, {name!r} is for {entry.modality}")
        known |= {weights.name for weights in entry.weights}
        known |= {name, name.partition(":")[0]} if entry.hub else set()
        for weights in entry.weights:
            resolve(weights, options.weights)
    unused = sorted(options.weights.keys() - known - {"*"})
    if unused:
        names = ", ".join(sorted(known)) or "none"
        raise InputError(f"--weights {unused[0]}: no backbone asked for has weights of that name; they have: {names}")
    for name in (options.visual, options.audio):
        if load and name is not None:  # loaded once here: the only way to know that its modules and files are good
            _backbone(name, _key(options))


def weight_hashes(options: ExtractConfig) -> dict[str, list[str]]:
    """{modality: hashes of the weight files that would be loaded}; a file that is not here has none."""
    hashes: dict[str, list[str]] = {}
    for modality in ("visual", "audio"):
        name = getattr(options, modality)
        files = [find(weights, options.weights) for weights in card(name).weights] if name else []
        hashes[modality] = [digest(path) for path in files if path is not None]
    return hashes


def _need_one(options: ExtractConfig) -> None:
    if options.visual is None and options.audio is None:
        raise InputError("extract.visual and extract.audio are both none; name at least one backbone")


def _key(options: ExtractConfig) -> tuple[tuple[tuple[str, str], ...], str, str, bool]:
    return tuple(sorted(options.weights.items())), options.device, options.precision, options.compile


@lru_cache(maxsize=4)
def _backbone(name: str, key: tuple[tuple[tuple[str, str], ...], str, str, bool]) -> Backbone:
    """Made once a process: its weights may be large."""
    weights, device, precision, compiled = key
    return load_backbone(name, Setup(dict(weights), device, precision, compiled))


def work(path: Path, job: Job) -> Row:
    """Extract and save one video. Never raises for what is wrong with the video: the row says so.

    Raises:
        StorageError: nothing can be written.
    """
    began = time.perf_counter()
    try:
        layouts.target(job.out, job.names(path), job.layout)
        features = extract_one(path, job.options, job.threads, job.names)
        layouts.save(job.out, features, job.layout, job.options.dtype)
    except StorageError:  # the next video could not be written either
        raise
    except AvlocError as error:
        reason = str(error)
    except Exception as error:  # ours to mend, and yet no reason to lose the other videos
        _log.exception("%s", path)
        reason = f"{path}: our own error, please report it: {type(error).__name__}: {error}".splitlines()[0]
    else:
        return describe(path, features, job, round(time.perf_counter() - began, 3))
    return failed(path, job, reason, round(time.perf_counter() - began, 3))


def failed(path: Path, job: Job, reason: str, seconds: float = 0.0) -> Row:
    """The manifest's row of a video that could not be done."""
    return Row(readable(job.names(path)), readable(path), "failed", reason, seconds=seconds)


def describe(path: Path, features: FeatureSequence, job: Job, seconds: float) -> Row:
    """The manifest's row of a video that is done."""
    name = job.names(path)
    return Row(
        name,
        readable(path),
        "done",
        note=_remarks(features, job.options),
        seconds=seconds,
        duration_s=features.duration_s,
        snippets=features.grid.count,
        visual_size=0 if features.visual is None else features.visual.shape[1],
        audio_size=0 if features.audio is None else features.audio.shape[1],
        bytes=layouts.size_bytes(job.out, name, job.layout),
    )


def _remarks(features: FeatureSequence, options: ExtractConfig) -> str:
    missing = [name for name in ("visual", "audio") if getattr(options, name) and getattr(features, name) is None]
    remarks = [f"no {name}: {features.source.get(name, 'none')}" for name in missing]
    if features.source.get("damage", "none") != "none":
        remarks.append(f"damaged: {features.source['damage']}")
    return "; ".join(remarks)
