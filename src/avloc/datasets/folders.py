"""Folders of feature files, one per video, in the naming schemes of common extractors.

<video>_rgb.npy, <video>_flow.npy, <video>_vggish.npy     video_features, UnAV-100; <video>_timestamps_ms.npy too
rgb/<video>.npy, flow/<video>.npy                         BaS-Net, UM, CoLA, CMCS; train/rgb/... as well
vggish/<video>.npy, res152/<video>.npy                    LLP
<video>.npy | .npz | .pt | .pkl | .h5, v_<video>.npy       OpenTAD, ActionFormer
features.h5                                                a dataset or a group per video
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from avloc.datasets.tracks import EVEN, ArrayFile, Clock, Place, Track
from avloc.errors import FormatError, InputError, did_you_mean
from avloc.formats.untrusted.arrays import load_array
from avloc.formats.untrusted.hdf5 import dataset_names, open_hdf5
from avloc.system.text import nfc

SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".pkl", ".h5", ".hdf5")
AUDIO = ("vggish", "audio", "panns", "openl3", "logmel", "wav2clip")
VISUAL = ("rgb", "flow", "i3d", "r21d", "r2plus1d_18", "s3d", "resnet", "res152", "clip", "timm", "slowfast", "tsp")
ORDER = (*VISUAL, *AUDIO)
NOT_FEATURES = ("fps", "timestamps_ms")
"""What video_features writes next to its features."""


def read_feature_folder(
    path: Path | str, clock: Clock | None = None, tracks: Sequence[str] = (), modality: str = ""
) -> tuple[Track, ...]:
    """The tracks of a folder of feature files, or of one .h5 with all videos. Only names and timestamps are read.

    Args:
        clock: of all tracks; None uses each video's timestamps, else divides the video evenly.
        tracks: names of the wanted tracks, in this order; empty for all.
        modality: "visual" or "audio" for files whose names do not tell; "" is visual.

    Raises:
        InputError: no such folder, no feature file in it, or no such track.
        FormatError: two files for one track and video.
    """
    source = Path(path)
    if not source.exists():
        raise InputError(f"{source}: expected a folder of feature files or one .h5; it does not exist")
    found: dict[str, dict[str, Place]]
    stamps: dict[str, Path] = {}
    if source.is_file():
        found = _inside_hdf5(source)
    else:
        found, stamps = _by_name(source)
    if not any(found.values()):
        others = sorted({p.suffix or p.name for p in source.iterdir()})[:5] if source.is_dir() else []
        raise InputError(
            f"{source}: expected feature files ({', '.join(SUFFIXES)}), found {', '.join(others) or 'nothing'}"
        )
    missing = [name for name in tracks if name not in found]
    if missing:
        raise InputError(f"{source}: no track {missing[0]!r}.{did_you_mean(missing[0], found)}")
    names = list(tracks) or sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else 99, name))
    clocks = {} if clock is not None else {video: _stamped(file) for video, file in stamps.items()}
    return tuple(Track(name, _modality(name, modality), found[name], clock or EVEN, clocks) for name in names)


def named_as(tracks: Iterable[Track], video_ids: Iterable[str], *also: Callable[[str], str]) -> tuple[Track, ...]:
    """The tracks renamed to a data set's video ids; files that match no video keep their names.

    Args:
        video_ids: the names to use. A file matches a video by the same name, with or without a leading `v_`.
        also: further functions from a video id to a file's name.
    """
    ids = list(video_ids)
    renamed = []
    for track in tracks:
        names: dict[str, str] = {}
        for video in ids:
            spellings = (video, f"v_{video}", video.removeprefix("v_"), *(rename(video) for rename in also))
            match = next((name for name in spellings if name in track.places), None)
            if match is not None:
                names[video] = match
        used = set(names.values())
        places = {video: track.places[name] for video, name in names.items()}
        places |= {name: place for name, place in track.places.items() if name not in used and name not in places}
        clocks = {video: track.clocks[name] for video, name in names.items() if name in track.clocks}
        renamed.append(replace(track, places=places, clocks={**track.clocks, **clocks}))
    return tuple(renamed)


def _by_name(folder: Path) -> tuple[dict[str, dict[str, Place]], dict[str, Path]]:
    """{track: {video: file}} and {video: file of timestamps}."""
    found: dict[str, dict[str, Place]] = defaultdict(dict)
    stamps: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() not in SUFFIXES or not file.is_file() or file.name.startswith("."):
            continue
        video, track = _video_and_track(file, folder)
        if track == "timestamps_ms":
            stamps[video] = file
        if track in NOT_FEATURES:
            continue
        before = found[track].setdefault(video, ArrayFile(file))
        if isinstance(before, ArrayFile) and before.path != file:
            raise FormatError(f"{file}: duplicate {track} features of {video!r}, also in {before.path}; keep one")
    return found, stamps


def _video_and_track(file: Path, folder: Path) -> tuple[str, str]:
    stem = nfc(file.stem)
    for track in (*ORDER, *NOT_FEATURES):
        for mark in (f"_{track}", f"-{track}"):
            if stem.endswith(mark) and stem != mark:
                return stem.removesuffix(mark), track
    folders = [part.lower().removesuffix("_features") for part in file.relative_to(folder.parent).parts[:-1]]
    return stem, next((part for part in reversed(folders) if part in ORDER), "")


def _modality(track: str, otherwise: str) -> Literal["visual", "audio"]:
    if track in AUDIO or track in VISUAL:
        return "audio" if track in AUDIO else "visual"
    return "audio" if otherwise == "audio" else "visual"


def _stamped(file: Path) -> Clock:
    """The clock of video_features' timestamps: step is their median difference; the first window starts at 0."""
    times = load_array(file)
    steps = np.diff(times) if times.ndim == 1 and times.dtype.kind in "fiu" else np.zeros(0)
    if len(steps) == 0:
        return EVEN  # a single row has no step
    step_ms = float(np.median(steps))
    if not (np.isfinite(step_ms) and step_ms > 0):
        raise FormatError(f"{file}: expected ascending times in milliseconds")
    return Clock(Fraction(str(round(step_ms, 3))) / 1000)


def _inside_hdf5(path: Path) -> dict[str, dict[str, Place]]:
    """One file for all videos: each a dataset, or a group of one dataset or of several named like tracks."""
    with open_hdf5(path) as file:
        names = list(dataset_names(file))
    found: dict[str, dict[str, Place]] = defaultdict(dict)
    for name in names:
        video, _, below = nfc(name).partition("/")
        track = below if below in ORDER else ""
        if video in found[track]:
            raise FormatError(
                f"{path}: expected one array per video, or arrays named rgb, flow, ..., got several in {video!r}"
            )
        found[track][video] = ArrayFile(path, name)
    return found
