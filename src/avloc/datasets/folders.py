"""Folders of feature files, one per video, in the naming schemes of common extractors.

<video>_rgb.npy, <video>_flow.npy, <video>_vggish.npy     video_features, UnAV-100; <video>_timestamps_ms.npy too
<video>_<backbone>.npy with <video>.json                   avloc extract --layout npy
rgb/<video>.npy, flow/<video>.npy                         BaS-Net, UM, CoLA, CMCS; train/rgb/... as well
vggish/<video>.npy, res152/<video>.npy                    LLP
<video>.npy | .npz | .pt | .pkl | .h5, v_<video>.npy       OpenTAD, ActionFormer; several arrays per file as well
features.h5 | .npz | .pt | .pkl | .npy (a dict)            all videos in one file; see `containers`

A file whose name is a video of the annotations is that video's, whatever its name ends in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from avloc.datasets.containers import AUDIO, ORDER, VISUAL, inner_tracks, inside_one_file, track_named
from avloc.datasets.places import ArrayFile, Place
from avloc.datasets.tracks import EVEN, Clock, Track
from avloc.errors import AvlocError, FormatError, InputError, did_you_mean
from avloc.formats.npy import STAMPS, npy_path, npy_videos, read_npy_description
from avloc.formats.untrusted.arrays import load_array
from avloc.system.text import nfc

SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".pkl", ".h5", ".hdf5")
NOT_FEATURES = ("fps", STAMPS)
"""What video_features writes next to its features."""

_ENDINGS = sorted((*ORDER, *NOT_FEATURES), key=len, reverse=True)


@dataclass
class _Found:
    """Files of a folder.

    Args:
        places: {track: {video: file}}.
        clocks: {video: clock} of the videos with timestamps.
        modalities: {track: modality}, where a description tells.
    """

    places: dict[str, dict[str, Place]] = field(default_factory=lambda: defaultdict(dict))
    clocks: dict[str, Clock] = field(default_factory=dict)
    modalities: dict[str, str] = field(default_factory=dict)

    def add(self, track: str, video: str, file: Path, key: str = "") -> None:
        before = self.places[track].setdefault(video, ArrayFile(file, key))
        if isinstance(before, ArrayFile) and before.path != file:
            raise FormatError(f"{file}: duplicate {track} features of {video!r}, also in {before.path}; keep one")


def read_feature_folder(
    path: Path | str,
    clock: Clock | None = None,
    tracks: Sequence[str] = (),
    modality: str = "",
    videos: Iterable[str] = (),
) -> tuple[Track, ...]:
    """The tracks of a folder of feature files, or of one file with all videos.

    Of a folder, only names, timestamps and the keys of the first file of several arrays are read.

    Args:
        clock: of all tracks; None uses each video's timestamps, else divides the video evenly.
        tracks: names of the wanted tracks, in this order; empty for all.
        modality: "visual" or "audio" for files whose names do not tell; "" is visual.
        videos: names in the annotations, which a file's name is compared with before its ending is interpreted.

    Raises:
        InputError: no such folder, no feature file in it, or no such track.
        FormatError: two files for one track and video.
    """
    source = Path(path)
    if not source.exists():
        raise InputError(f"{source}: expected a folder of feature files or one .h5; it does not exist")
    names = {spelling for video in videos for spelling in spellings(video)}
    found = _by_name(source, names) if source.is_dir() else _Found(inside_one_file(source, names))
    if not any(found.places.values()):
        others = sorted({p.suffix or p.name for p in source.iterdir()})[:5] if source.is_dir() else []
        tables = "; save each table (as of BSN's csv_mean_100) as .npy without its header" * (".csv" in others)
        raise InputError(
            f"{source}: expected feature files ({', '.join(SUFFIXES)}), found {', '.join(others) or 'nothing'}{tables}"
        )
    missing = [name for name in tracks if name not in found.places]
    if missing:
        raise InputError(f"{source}: no track {missing[0]!r}.{did_you_mean(missing[0], found.places)}")
    chosen = list(tracks) or sorted(found.places, key=lambda name: (ORDER.index(name) if name in ORDER else 99, name))
    clocks = {} if clock is not None else found.clocks
    return tuple(
        Track(name, _modality(name, found.modalities.get(name, modality)), found.places[name], clock or EVEN, clocks)
        for name in chosen
    )


def spellings(video: str) -> tuple[str, ...]:
    """Names that a video's file may have: with or without a leading `v_`."""
    return video, f"v_{video}", video.removeprefix("v_")


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
            wanted = (*spellings(video), *(rename(video) for rename in also))
            match = next((name for name in wanted if name in track.places), None)
            if match is not None:
                names[video] = match
        used = set(names.values())
        places = {video: track.places[name] for video, name in names.items()}
        places |= {name: place for name, place in track.places.items() if name not in used and name not in places}
        clocks = {video: track.clocks[name] for video, name in names.items() if name in track.clocks}
        renamed.append(replace(track, places=places, clocks={**track.clocks, **clocks}))
    return tuple(renamed)


def _by_name(folder: Path, names: Collection[str]) -> _Found:
    found = _Found()
    described = _described(folder, found)
    keys: dict[str, Mapping[str, str] | None] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() not in SUFFIXES or not file.is_file() or file.name.startswith("."):
            continue
        video, track = described.get(file) or _video_and_track(file, folder, names)
        if track == STAMPS and video not in found.clocks:
            found.clocks[video] = _stamped(file)
        if track in NOT_FEATURES:
            continue
        kind = file.suffix.lower()
        if not track and keys.get(kind) is None:
            keys[kind] = inner_tracks(file)
        for inner, key in (not track and (keys[kind] or {}).items()) or ((track, ""),):
            found.add(inner, video, file, key)
    return found


def _described(folder: Path, found: _Found) -> dict[Path, tuple[str, str]]:
    """{file: (video, track)} of the files of `avloc extract --layout npy`, whose clocks and modalities are added."""
    files: dict[Path, tuple[str, str]] = {}
    for name in npy_videos(folder):
        try:
            facts = read_npy_description(folder, name)
        except AvlocError:  # the files are taken by their names
            continue
        video = nfc(name).rpartition("/")[2]
        files[npy_path(folder, name, STAMPS)] = video, STAMPS
        found.clocks[video] = Clock(facts.grid.step_s, facts.grid.length_s, facts.grid.start_s, facts.grid.count)
        for modality, keys in facts.keys.items():
            files |= {npy_path(folder, name, key): (video, key) for key in keys}
            found.modalities |= dict.fromkeys(keys, modality)
    return files


def _video_and_track(file: Path, folder: Path, names: Collection[str]) -> tuple[str, str]:
    stem = nfc(file.stem)
    for ending in _ENDINGS:
        for mark in (f"_{ending}", f"-{ending}"):
            if stem.endswith(mark) and stem != mark:
                video = stem.removesuffix(mark)
                if stem in names and not (video in names and _has_own(file, mark)):
                    break
                return video, ending
    return stem, track_named(*file.relative_to(folder.parent).parts[:-1])


def _has_own(file: Path, mark: str) -> bool:
    """Whether the video that is named as this file has a file of its own, with the same ending."""
    return file.with_name(f"{file.stem}{mark}{file.suffix}").exists()


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
    return Clock(Fraction(str(round(step_ms, 3))) / 1000, rows=len(times))
