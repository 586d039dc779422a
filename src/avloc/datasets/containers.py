"""Files with several feature arrays: of one video, or of all videos.

<video>/i3d_features/rgb, <video>/vggish_features     groups of HDF5 or nested dicts: the last name that is a track's
<video>/c3d_features, <video>                         one array per video
rgb/<video>, vggish/<video>                           tracks first
rgb, flow                                             the arrays of one video, which the file is named after

The same in .h5, .npz, .pt, .pkl, and in .npy of a pickled dict. Everything is read by `formats.untrusted`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from avloc.datasets.places import ArrayFile, Held, Place, arrays_below, load_any
from avloc.errors import AvlocError, FormatError, InputError
from avloc.formats.untrusted.hdf5 import dataset_names, open_hdf5
from avloc.system.text import nfc

VISUAL = (
    *("rgb", "flow", "i3d", "r21d", "r2plus1d_18", "s3d", "resnet", "res152", "clip", "timm", "slowfast", "tsp"),
    *("appearance", "efficientnet-lite0", "siglip", "siglip2", "dinov2", "dinov3", "videomae", "vjepa2", "pe-av"),
)
AUDIO = (
    *("vggish", "audio", "panns", "openl3", "logmel", "wav2clip"),
    *("vggish-pca", "efficientat-mn04", "efficientat-mn10", "ast", "clap", "pe-a-frame"),
)
ORDER = (*VISUAL, *AUDIO)
"""Tracks with a name of their own, in the order in which they are concatenated."""

_AVE_KEYS = ("avadataset", "order")
_ENDINGS = ("_features", "_feature", "_feats", "_feat")


def inside_one_file(path: Path, videos: Collection[str] = ()) -> dict[str, dict[str, Place]]:
    """{track: {video: array}} of one file with all videos.

    Args:
        videos: names in the annotations; a part of an array's name that is one of them is the video.

    Raises:
        FormatError: no such file of arrays, or several arrays of a video that their names do not tell apart.
    """
    places = _arrays_in(path)
    if not places:
        raise FormatError(f"{path}: expected arrays (rows, size) by video; it has none")
    if set(places) & set(_AVE_KEYS):
        raise InputError(f"{path}: one array of all videos, as in AVE; give the folder with its Annotations.txt")
    first = {name.partition("/")[0] for name in places}
    tracks_first = all(track_named(name) for name in first) and not first & set(videos)
    found: dict[str, dict[str, Place]] = defaultdict(dict)
    names: dict[tuple[str, str], str] = {}
    for name, place in places.items():
        parts = nfc(name).split("/")
        at = next((k for k, part in enumerate(parts) if part in videos), 1 if tracks_first else 0)
        video = parts[at] if at < len(parts) else nfc(path.stem)
        track = track_named(*parts[:at], *parts[at + 1 :])
        if (before := names.setdefault((video, track), name)) != name:
            raise FormatError(
                f"{path}: expected one array per video, or arrays named rgb, flow, ..., got several in {video!r}: "
                f"{before}, {name}"
            )
        found[track][video] = place
    return found


def inner_tracks(path: Path) -> Mapping[str, str] | None:
    """{track: name of its array} of one video's file that has several tracks, otherwise empty; None if damaged."""
    if path.suffix.lower() == ".npy":
        return {}
    try:
        names = {track_named(*name.split("/")): name for name in _arrays_in(path)}
    except AvlocError:  # reported when it is read
        return None
    names.pop("", None)
    return names if len(names) > 1 else {}


def _arrays_in(path: Path) -> dict[str, Place]:
    if path.suffix.lower() not in (".npy", ".npz", ".pt", ".pth", ".pkl"):
        with open_hdf5(path) as file:
            return {name: ArrayFile(path, name) for name in dataset_names(file)}
    value = load_any(path)
    if isinstance(value, np.ndarray) and path.suffix.lower() != ".npy":
        value = {path.stem: value}
    if not isinstance(value, dict):
        what = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise FormatError(f"{path}: expected arrays by video's name, got {what}; give the folder with a file per video")
    return {name: Held(array) for name, array in arrays_below(path, value).items()}


def track_named(*parts: str) -> str:
    """The last part that is the name of a track, such as "vggish" for "vggish_features"; "" if none is."""
    plain: Iterable[str] = (_without_ending(part.lower()) for part in reversed(parts))
    return next((part for part in plain if part in ORDER), "")


def _without_ending(name: str) -> str:
    return next((name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending)), name)
