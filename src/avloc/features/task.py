"""Extract one video to a file; the result is a manifest row."""

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
from avloc.features.choose import without_auto
from avloc.features.layout import Layout
from avloc.features.manifest import Row
from avloc.features.video import extract_features
from avloc.features.weights import digest, find, resolve
from avloc.media.complete import unchanged
from avloc.media.find import BY_FILE, VideoNames
from avloc.media.probe import probe
from avloc.system.text import printable, readable
from avloc.types import FeatureSequence, Progress

_log = logging.getLogger("avloc.extract")


@dataclass(frozen=True)
class Job:
    """Settings shared by all videos of an extraction; pickled to processes and machines.

    Args:
        threads: of the video decoder; 0 lets ffmpeg choose.
        names: gives each file its video name.
    """

    out: Path
    options: ExtractConfig
    layout: Layout = "safetensors"
    threads: int = 0
    names: VideoNames = BY_FILE


def extract_one(path: Path, options: ExtractConfig, threads: int = 0, names: VideoNames = BY_FILE) -> FeatureSequence:
    """Extract the features of one video with the backbones named in `options`.

    Raises:
        MediaError: the file cannot be opened, too little of it decoded, or it changed meanwhile.
        InputError: unknown backbone, missing weights, no backbone at all, or a video name that is not UTF-8.
    """
    options = without_auto(options)
    _check_any_backbone(options)
    _check_name(path, names(path))
    visual = cast(VisualBackbone, _backbone(options.visual, options)) if options.visual else None
    audio = cast(AudioBackbone, _backbone(options.audio, options)) if options.audio else None
    with unchanged(path):
        media = probe(path, names(path), options.streams)
        return extract_features(media, visual, audio, options.step, frame_rate=options.fps, threads=threads)


def _check_name(path: Path, name: str) -> None:
    """Video names must be valid text, because they go into tables."""
    if printable(name) != name:
        raise InputError(f"{readable(path)}: the file name is not UTF-8; rename the file")


def check_options(options: ExtractConfig, load: bool = True, progress: Progress | None = None) -> None:
    """Check, before the first video, what every video needs: names, modules, weights (downloaded here, once).

    Args:
        load: also load the backbones here; False if other processes or machines do the extraction.
        progress: called with (kB received, kB in all, file) during a download.

    Raises:
        InputError: what is missing and where to put it.
    """
    options = without_auto(options, progress=progress)
    _check_any_backbone(options)
    if load and options.device not in ("auto", "cpu"):  # weight-free backbones would never check the device
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
            resolve(weights, options.weights, progress)
    unused = sorted(options.weights.keys() - known - {"*"})
    if unused:
        names = ", ".join(sorted(known)) or "none"
        raise InputError(f"--weights {unused[0]}: no selected backbone has weights of that name; they have: {names}")
    for name in (options.visual, options.audio):
        if load and name is not None:  # the only full check of its modules and files
            _backbone(name, options)


def weight_hashes(options: ExtractConfig) -> dict[str, list[str]]:
    """{modality: hashes of the weight files that would be loaded}; files not yet downloaded are left out."""
    hashes: dict[str, list[str]] = {}
    for modality in ("visual", "audio"):
        name = getattr(options, modality)
        files = [find(weights, options.weights) for weights in card(name).weights] if name else []
        hashes[modality] = [digest(path) for path in files if path is not None]
    return hashes


def _check_any_backbone(options: ExtractConfig) -> None:
    if options.visual is None and options.audio is None:
        raise InputError("extract.visual and extract.audio are both none; select at least one backbone")


def _backbone(name: str, options: ExtractConfig) -> Backbone:
    weights = tuple(sorted(options.weights.items()))
    return _cached_backbone(name, weights, options.device, options.precision, options.compile)


@lru_cache(maxsize=4)
def _cached_backbone(
    name: str, weights: tuple[tuple[str, str], ...], device: str, precision: str, compiled: bool
) -> Backbone:
    """Load a backbone once per process."""
    return load_backbone(name, Setup(dict(weights), device, precision, compiled))


def extract_to_file(path: Path, job: Job) -> Row:
    """Extract and save one video. A failure of the video is returned as its row, not raised.

    Raises:
        StorageError: the output cannot be written.
    """
    began = time.perf_counter()
    try:
        layouts.target(job.out, job.names(path), job.layout)
        features = extract_one(path, job.options, job.threads, job.names)
        layouts.save(job.out, features, job.layout, job.options.dtype)
    except StorageError:  # would fail every other video too
        raise
    except AvlocError as error:
        reason = str(error)
    except Exception as error:  # a bug of avloc must not stop the other videos
        _log.exception("%s", path)
        reason = f"{path}: internal error, please report it: {type(error).__name__}: {error}".splitlines()[0]
    else:
        return done_row(path, features, job, round(time.perf_counter() - began, 3))
    return failed_row(path, job, reason, round(time.perf_counter() - began, 3))


def failed_row(path: Path, job: Job, reason: str, seconds: float = 0.0) -> Row:
    """Manifest row of a video that failed."""
    return Row(readable(job.names(path)), readable(path.absolute()), "failed", reason, seconds=seconds)


def done_row(path: Path, features: FeatureSequence, job: Job, seconds: float) -> Row:
    """Manifest row of a video that was extracted."""
    name = job.names(path)
    return Row(
        name,
        readable(path.absolute()),
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
    remarks = [f"no {name}: {features.source.absent_because.get(name) or 'not requested'}" for name in missing]
    damage = features.source.details.get("damage", "none")
    if damage != "none":
        remarks.append(f"damaged: {damage}")
    details = features.source.details
    if "notes" in details:
        remarks.append(details["notes"])
    for kind in ("video", "audio"):
        used, asked = details.get(f"{kind}_stream", "1"), details.get(f"{kind}_stream_option")
        if used != "1" and asked is None:
            remarks.append(f"{kind} stream {used} is used")
    if "silence" in details:
        remarks.append(details["silence"])
    return "; ".join(remarks)
