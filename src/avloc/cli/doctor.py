"""avloc doctor: check a data set, a folder of videos, or this installation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avloc.cli.datasets import (
    Audio,
    AudioStride,
    AudioWindow,
    AxesOption,
    Features,
    Stride,
    TrackNames,
    Window,
    open_source,
)
from avloc.cli.shared import Json, make_talk
from avloc.errors import InputError
from avloc.system.text import pluralize

if TYPE_CHECKING:
    from avloc.cli.console import Talk
    from avloc.datasets.doctor import DataReport


def doctor(
    data: Annotated[
        Path | None, typer.Argument(help="Data set, folder of videos, or one from `avloc convert` or `avloc extract`.")
    ] = None,
    features: Features = [],  # noqa: B006
    audio: Audio = None,
    stride_s: Stride = "",
    window_s: Window = "",
    audio_stride_s: AudioStride = "",
    audio_window_s: AudioWindow = "",
    tracks: TrackNames = "",
    axes: AxesOption = "",
    quick: Annotated[bool, typer.Option("--quick", help="Check the features of 50 videos only.")] = False,
    as_json: Json = False,
) -> None:
    """Check a data set, a folder of videos, or this installation.

    Reports what a data set holds and what is wrong with it; of videos, what is
    heard and seen in them, which are silent, and which are the same; without
    either, versions and available backbones. Exits with code 3 if there are
    errors in the data.

    avloc doctor
    avloc doctor videos/
    avloc doctor AVE_Dataset/data
    avloc doctor anet --quick
    """
    from avloc.cli.tag import say_look
    from avloc.datasets.doctor import examine

    talk = make_talk(as_json)
    if data is None:
        _say_installation(talk)
        return
    if _holds_videos_only(data):
        say_look(talk, data, 50 if quick else None)
        return
    collection = open_source(
        data, features, audio, (stride_s, window_s), (audio_stride_s, audio_window_s), tracks, axes
    )
    with talk.progress("read features") as progress:
        report = examine(collection, 50 if quick else None, progress)
    _say_report(talk, report)
    with talk.part():
        talk.summary(report.to_dict())
        stored = next((place for place in (data / "features", data) if any(place.glob("*.safetensors"))), None)
        if stored is not None:
            say_look(talk, stored, 50 if quick else None, extra=True)
    if not report.sound:
        raise typer.Exit(3)


def _holds_videos_only(place: Path) -> bool:
    """Whether a path holds videos, and nothing that could be a data set."""
    from avloc.media.find import find_media

    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    if any(path.suffix.lower() in _DATA for path in files):
        return False
    try:
        return bool(find_media(place))
    except InputError:
        return False


_DATA = {".csv", ".json", ".txt", ".npy", ".npz", ".pt", ".pth", ".pkl", ".h5", ".hdf5", ".mat", ".safetensors", ".gz"}
"""Suffixes of features and annotations."""


def _say_installation(talk: Talk) -> None:
    """Versions, device, and what `auto` features would be."""
    import platform

    import av
    import torch

    from avloc.features.backbones.network import find_device
    from avloc.features.choose import available
    from avloc.features.weights import cache_folder
    from avloc.version import __version__

    versions = {"avloc": __version__, "Python": platform.python_version(), "PyTorch": torch.__version__}
    versions |= {"PyAV": av.__version__}
    talk.say(", ".join(f"{name} {version}" for name, version in versions.items()))
    talk.say(f"device: {find_device('auto')}")
    best = {modality: available(modality) for modality in ("visual", "audio")}
    for modality, (name, here) in best.items():
        state = "available" if here else f"not available; get it with: avloc backbones --get {name}"
        talk.say(f"{modality} features (auto): {name}, {state}")
    talk.say(f"weights are stored in {cache_folder()}")
    talk.summary({"versions": versions, "auto": {m: {"backbone": n, "available": h} for m, (n, h) in best.items()}})


def _say_report(talk: Talk, report: DataReport) -> None:
    rows = [[subset, str(count), str(report.instances[subset])] for subset, count in report.videos.items()]
    talk.say(f"{report.name}: {pluralize(report.classes, 'class')}")
    if rows:
        talk.table("", ["subset", "videos", "instances"], rows)
    if report.labelled:
        talk.say("weak labels: " + ", ".join(f"{count} {name}" for name, count in report.labelled.items()))
    if report.duration_s is not None:
        shortest, median, longest = report.duration_s
        share = "" if report.foreground is None else f"; mean foreground share {100 * report.foreground:.0f} %"
        talk.say(f"lengths: {shortest:.1f} to {longest:.1f} s, median {median:.1f} s{share}")
    for name, found in report.features.items():
        fewest, middle, most = found.rows
        spread = f"{fewest} to {most} rows (median {middle}), one per {found.step_s:g} s"
        talk.say(f"{name} features: {pluralize(found.videos, 'video')}, size {found.size}, {spread}")
    talk.few(report.layouts)
    for kind in ("error", "warning", "note"):
        talk.few(f"{kind}: {finding.text}" for finding in report.findings if finding.kind == kind)
    talk.say(_verdict(report))


def _verdict(report: DataReport) -> str:
    if not report.sound:
        return "there are errors, see above"
    return "no errors" if report.features else "no errors in the annotations; no features were found"
