"""Open any supported data set by its path; its kind is recognized from its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from avloc.datasets.ave_labels import ave_collection
from avloc.datasets.collection import Collection, preset_of, weak_labels
from avloc.datasets.folders import SUFFIXES, named_as, read_feature_folder
from avloc.datasets.llp import is_llp, read_llp
from avloc.datasets.tracks import Clock, Track, Tracks
from avloc.datasets.wtalc import is_wtalc, read_wtalc
from avloc.errors import AvlocError, FormatError, InputError, first_few
from avloc.formats.annotations import parse_annotation_columns, parse_annotations, read_annotations, read_database
from avloc.formats.features import FeatureStore
from avloc.formats.labels import LabelTable
from avloc.formats.npy import STAMPS, load_npy, npy_videos, read_npy_description
from avloc.system.text import pluralize
from avloc.types import FeatureSequence

_Reader = Callable[[Iterable[str]], Sequence[Track]]
"""Reads tracks, given the names of the annotated videos."""


def open_collection(
    path: Path | str,
    features: Sequence[Path | str] = (),
    audio: Path | str | None = None,
    clock: Clock | None = None,
    audio_clock: Clock | None = None,
    tracks: Sequence[str] = (),
    axes: Mapping[str, str] | None = None,
) -> Collection:
    """Open a data set, with its features if they exist.

    Args:
        path: AVE's folder; W-TALC's annotations; LLP's tables; ActivityNet's JSON (also UnAV-100, THUMOS14, HACS,
            FineAction); a folder of feature files without annotations; a folder written by avloc.
        features: its features, if elsewhere: folders or .h5 files, for W-TALC the JOINTFeatures file.
        audio: separate audio features, joined by video id.
        clock, audio_clock: times of the rows of `features` and `audio`; for None see `folders` and `wtalc`.
        tracks: names of the wanted tracks of `features`; empty for all.
        axes: layouts of the arrays, by track or by number of axes, as `axes.parse_axes` returns them; otherwise they
            are told from the data.

    Raises:
        InputError: not a data set. FormatError: an invalid file in it. ConfigError: `axes` that suit no array.
    """
    data = _open(Path(path), features, audio, clock, audio_clock, tracks)
    options = _options(features, audio, clock, audio_clock, tracks, axes or {})
    if isinstance(data.features, Tracks):
        told = data.features.told(axes or {}, data.durations_s)
        timed = (
            f"{new.name or new.modality} features: {float(new.clock.step_s or 0):g} s between rows (16 frames at 25 "
            "fps), as the durations say; --stride-s sets another step"
            for old, new in zip(data.features.tracks, told.tracks, strict=True)
            if old.clock != new.clock
        )
        return replace(data, features=told, options=options, notes=(*data.notes, *timed))
    if axes:
        raise InputError(f"{path}: --axes is for feature arrays of other projects; there are none")
    return replace(data, options=options)


def _options(
    features: Sequence[Path | str],
    audio: Path | str | None,
    clock: Clock | None,
    audio_clock: Clock | None,
    tracks: Sequence[str],
    axes: Mapping[str, str],
) -> dict[str, str]:
    """The options that were given, by name; of paths the last part, so that a data set may move."""
    times = {
        f"{prefix}{name}_s": value
        for prefix, own in (("", clock), ("audio_", audio_clock))
        if own is not None
        for name, value in (("stride", own.step_s), ("window", own.length_s))
    }
    given = {
        "features": ",".join(Path(path).name for path in features),
        "audio": Path(audio).name if audio is not None else "",
        "tracks": ",".join(tracks),
        "axes": ",".join(f"{key}={letters}" for key, letters in sorted(axes.items())),
        **{key: str(value) for key, value in times.items() if value is not None},
    }
    return {key: value for key, value in given.items() if value}


def _open(
    source: Path,
    features: Sequence[Path | str],
    audio: Path | str | None,
    clock: Clock | None,
    audio_clock: Clock | None,
    tracks: Sequence[str],
) -> Collection:
    if not source.exists():
        raise InputError(f"{source}: expected a data set; it does not exist")
    if source.is_dir() and (source / "Annotations.txt").is_file():
        _only_beside(source, features, audio)
        return ave_collection(source)

    def heard(videos: Iterable[str]) -> tuple[Track, ...]:
        return () if audio is None else read_feature_folder(audio, audio_clock, (), "audio", videos)

    def given(videos: Iterable[str]) -> tuple[Track, ...]:
        seen = (track for folder in features for track in read_feature_folder(folder, clock, tracks, "", videos))
        return (*seen, *heard(videos))

    if source.is_dir() and is_wtalc(source):
        return _wtalc(source, features, heard, clock)
    if source.is_dir() and is_llp(source):
        return read_llp(source, given)
    if source.is_dir() and _is_ours(source):
        return _ours(source)
    if source.is_file() and source.suffix.lower() in (".json", ".gz"):
        return _activitynet(source, given)
    inner = _known_below(source) if source.is_dir() else []
    if len(inner) == 1:
        return _open(inner[0], features, audio, clock, audio_clock, tracks)
    if len(inner) > 1:
        raise InputError(
            f"{source}: expected one data set, got {len(inner)}; give one of {', '.join(p.name for p in inner)}"
        )
    tables = _tables_in(source) if source.is_dir() else []
    if tables:
        raise InputError(f"{source}: expected a data set; give the .json file: {', '.join(map(str, tables))}")
    if source.is_dir() or source.suffix.lower() in (".h5", ".hdf5"):
        _only_beside(source, features, None)
        if source.is_dir() and clock is None and not tracks and audio is None and (videos := npy_videos(source)):
            return _described(source, videos)
        own = read_feature_folder(source, clock, tracks)
        return Collection(f"features ({source.name})", (), (), LabelTable(()), features=Tracks((*own, *heard(()))))
    raise InputError(f"{source}: expected a data set: a folder, ActivityNet's .json, or features in .h5")


def _known_below(folder: Path) -> list[Path]:
    """Data sets one folder down, as after unpacking an archive."""
    children = sorted(path for path in folder.iterdir() if path.is_dir())
    return [path for path in children if (path / "Annotations.txt").is_file() or is_wtalc(path) or is_llp(path)]


def _tables_in(folder: Path) -> list[Path]:
    """Up to three of its .json files, if there are no feature files."""
    if any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*")):
        return []
    return sorted(folder.glob("*.json"))[:3]


class StoredFeatures:
    """A `FeatureStore` as the `Features` of a data set."""

    def __init__(self, folder: Path | str) -> None:
        self.store = FeatureStore(folder)
        self.stored_in = self.store.folder

    @property
    def ids(self) -> tuple[str, ...]:
        return self.store.ids

    def load(self, video_id: str, duration_s: float | None = None) -> FeatureSequence:
        """As stored; the duration is the file's."""
        return self.store.load(video_id)


class NpyFeatures:
    """A folder of `avloc extract --layout npy` as the `Features` of a data set."""

    def __init__(self, folder: Path, videos: Sequence[str]) -> None:
        self.folder, self.ids = folder, tuple(videos)

    def load(self, video_id: str, duration_s: float | None = None) -> FeatureSequence:
        """As extracted; the duration is the description's."""
        return load_npy(self.folder, video_id)


def _described(source: Path, videos: Sequence[str]) -> Collection:
    """A folder of `avloc extract --layout npy`; the notes report files that it does not describe."""
    names = {f"{video}_{STAMPS}.npy" for video in videos}
    for video in videos:
        try:
            keys = read_npy_description(source, video).keys
        except AvlocError:  # reported when the video is read
            continue
        names |= {f"{video}_{key}.npy" for part in keys.values() for key in part}
    others = [p for p in sorted(source.rglob("*")) if p.suffix.lower() in SUFFIXES and p.is_file()]
    others = [path for path in others if path.relative_to(source).as_posix() not in names]
    words = f"{pluralize(len(others), 'feature file')} without a .json left out, convert them on their own: "
    notes = (words + first_few([path.name for path in others], 3),) * bool(others)
    features = NpyFeatures(source, videos)
    return Collection(f"avloc features ({source.name})", (), (), LabelTable(()), features=features, notes=notes)


def _only_beside(source: Path, features: Sequence[Path | str], audio: Path | str | None) -> None:
    if features or audio is not None:
        raise InputError(
            f"{source}: it contains its features; --features and --audio are for annotations without features"
        )


def _wtalc(source: Path, features: Sequence[Path | str], heard: _Reader, clock: Clock | None) -> Collection:
    if len(features) > 1:
        raise InputError(f"{source}: expected one JOINTFeatures file, got {len(features)}")
    if features and Path(features[0]).is_dir():
        data = read_wtalc(source, None, (), clock)
        tracks = (*read_feature_folder(features[0], clock, videos=data.durations_s), *heard(data.durations_s))
    else:
        data = read_wtalc(source, features[0] if features else None, (), clock)
        own = data.features.tracks if isinstance(data.features, Tracks) else ()
        tracks = (*own, *heard(data.durations_s))
    named = named_as(tracks, data.durations_s)
    return Collection(**{**vars(data), "features": Tracks(named) if named else None})


def _activitynet(source: Path, read: _Reader) -> Collection:
    content = read_database(source)
    annotations, report = parse_annotations(source, content)
    columns = parse_annotation_columns(source, content)
    given: dict[str, list[str]] = {}
    for video, label in zip(columns["video"], columns["label"], strict=True):
        given.setdefault(video, []).append(label)
    videos = [video.video_id for video in annotations]
    named = named_as(read(videos), videos)
    return Collection(
        name=f"ActivityNet schema ({source.name})",
        classes=tuple(sorted(set(columns["label"]))),
        annotations=annotations,
        labels=weak_labels(annotations, given),  # a zero-length instance still gives its video's class
        report=report,
        features=Tracks(named) if named else None,
        preset=preset_of(videos, str(content.get("version", ""))),
    )


def _is_ours(source: Path) -> bool:
    if any(source.glob("*.safetensors")) or any((source / "features").rglob("*.safetensors")):
        return True
    foreign = any(path.suffix.lower() in SUFFIXES for path in source.rglob("*"))
    return not foreign and any(source.rglob("*.safetensors"))


def _ours(source: Path) -> Collection:
    """A folder written by `avloc convert` or `avloc extract`: features, optional labels.csv and ground_truth.json."""
    from avloc.formats.labels import read_labels

    inner = source / "features"
    features = StoredFeatures(inner if inner.is_dir() else source)
    home = source if inner.is_dir() else source.parent
    labels = read_labels(home / "labels.csv") if (home / "labels.csv").is_file() else LabelTable(())
    truth = home / "ground_truth.json"
    try:
        annotations, report = read_annotations(truth) if truth.is_file() else ((), None)
    except FormatError as error:
        raise FormatError(f"{error}; the file is next to the features") from error
    collection = Collection(f"avloc features ({source.name})", labels.classes, annotations, labels, features=features)
    return collection if report is None else Collection(**{**vars(collection), "report": report})
