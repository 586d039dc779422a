"""LLP, the data set of audio-visual video parsing (AVVP): tab-separated tables and one feature file per video.

    AVVP_train.csv, AVVP_val_pd.csv, AVVP_test_pd.csv    filename, event_labels (comma-separated)
    AVVP_eval_audio.csv, AVVP_eval_visual.csv            filename, onset, offset, event_labels: whole seconds
    vggish/<id>.npy (10, 128)                            <id> is the first 11 characters of the file name
    res152/<id>.npy (80, 2048), r2plus1d_18/<id>.npy (10, 512)

Videos last 10 s. Audible and visible events are annotated separately, in validation and test only: they are `parts`;
`annotations` is their union.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from avloc.datasets.collection import Collection
from avloc.datasets.folders import named_as, read_feature_folder
from avloc.datasets.tracks import EVEN, Track, Tracks
from avloc.errors import FormatError, InputError
from avloc.formats.annotations import AnnotationIssue, AnnotationReport, valid_instances
from avloc.formats.labels import LabelRow, LabelTable, read_text
from avloc.system.text import pluralize
from avloc.types import Instance, VideoAnnotation
from avloc.vocabulary import Subset

DURATION_S = 10.0
TABLES = {
    Subset.TRAINING: "AVVP_train.csv",
    Subset.VALIDATION: "AVVP_val_pd.csv",
    Subset.TESTING: "AVVP_test_pd.csv",
}
ID_LENGTH = 11
FEATURE_FOLDERS = ("vggish", "res152", "r2plus1d_18")

LLP_CLASSES = (
    *("Speech", "Car", "Cheering", "Dog", "Cat", "Frying_(food)", "Basketball_bounce", "Fire_alarm", "Chainsaw"),
    *("Cello", "Banjo", "Singing", "Chicken_rooster", "Violin_fiddle", "Vacuum_cleaner", "Baby_laughter"),
    *("Accordion", "Lawn_mower", "Motorcycle", "Helicopter", "Acoustic_guitar", "Telephone_bell_ringing"),
    *("Baby_cry_infant_cry", "Blender", "Clapping"),
)
"""In AVVP's order, as in published outputs."""


def is_llp(folder: Path) -> bool:
    """Whether a folder contains one of LLP's tables."""
    return any((folder / name).is_file() for name in TABLES.values())


def read_llp(folder: Path | str, read: Callable[[Iterable[str]], Sequence[Track]] = lambda videos: ()) -> Collection:
    """Read LLP's tables, and its features if they exist.

    Args:
        read: reads features from another place, given the names of the files; if there are none, those of `vggish/`,
            `res152/` and `r2plus1d_18/` in the folder or its `feats/` are taken.

    Raises:
        InputError: no table in the folder.
        FormatError: a table not in AVVP's format.
    """
    root = Path(folder)
    if not is_llp(root):
        raise InputError(f"{root}: expected {', '.join(TABLES.values())}; found none of them")
    rows, subsets, notes = _weak(root)
    issues: list[AnnotationIssue] = []
    heard, seen = (_events(root / f"AVVP_eval_{kind}.csv", subsets, issues, notes) for kind in ("audio", "visual"))
    merged = {video: _union([*heard.get(video, ()), *seen.get(video, ())]) for video in subsets}
    parts = {name: _annotated(subsets, events) for name, events in (("audio", heard), ("visual", seen))}
    files = [name for video in subsets for name in (video, video[:ID_LENGTH])]
    tracks = named_as(read(files) or _feature_folders(root, files), subsets, lambda video: video[:ID_LENGTH])
    return Collection(
        name="LLP (AVVP)",
        classes=LLP_CLASSES,
        annotations=_annotated(subsets, merged),
        labels=LabelTable(tuple(rows), ()),
        report=AnnotationReport(tuple(issues)),
        features=Tracks(tracks, grid_step_s=Fraction(1)) if tracks else None,
        parts=parts,
        preset="llp",
        notes=tuple(notes),
    )


def _weak(root: Path) -> tuple[list[LabelRow], dict[str, Subset], list[str]]:
    """Rows, {video: subset}, notes."""
    rows: list[LabelRow] = []
    subsets: dict[str, Subset] = {}
    notes = []
    for subset, name in TABLES.items():
        if not (root / name).is_file():
            notes.append(f"{name} not found: no {subset.short} videos")
            continue
        for line, (video, labels) in _table(root / name, ("filename", "event_labels")):
            names = tuple(dict.fromkeys(label.strip() for label in labels.split(",") if label.strip()))
            _check_classes(root / name, line, names)
            if video in subsets:
                raise FormatError(f"{root / name}: line {line}: video {video!r} is also in {subsets[video].short}")
            subsets[video] = subset
            rows.append(LabelRow(video, names, subset.short))
    return rows, subsets, notes


def _events(
    path: Path, known: Mapping[str, Subset], issues: list[AnnotationIssue], notes: list[str]
) -> dict[str, list[Instance]]:
    rows: dict[str, list[tuple[str, float, float]]] = defaultdict(list)
    unknown = 0
    if not path.is_file():
        return {}
    for line, (video, onset, offset, label) in _table(path, ("filename", "onset", "offset", "event_labels")):
        _check_classes(path, line, (label,))
        try:
            start_s, end_s = float(onset), float(offset)
            if not 0 <= start_s <= DURATION_S or not 0 <= end_s <= DURATION_S:
                raise ValueError
        except ValueError:
            raise FormatError(f"{path}: line {line}: expected seconds in 0..10, got {onset} and {offset}") from None
        if video in known:
            rows[video].append((label, start_s, end_s))
        else:
            unknown += 1
    if unknown:
        notes.append(f"{path.name}: {pluralize(unknown, 'event')} of videos in no table left out")
    return {video: list(valid_instances(video, DURATION_S, found, issues)) for video, found in rows.items()}


def _check_classes(path: Path, line: int, labels: Iterable[str]) -> None:
    unknown = [label for label in labels if label not in LLP_CLASSES]
    if unknown:
        raise FormatError(f"{path}: line {line}: expected one of LLP's 25 classes, got {unknown[0]!r}")


def _table(path: Path, header: tuple[str, ...]) -> list[tuple[int, list[str]]]:
    lines = [line.split("\t") for line in read_text(path).splitlines()]
    if not lines or tuple(cell.strip() for cell in lines[0]) != header:
        got = "\t".join(lines[0])[:80] if lines else "nothing"
        raise FormatError(f"{path}: expected the header {'<tab>'.join(header)}, got {got!r}")
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if len(cells) != len(header):
            if not any(cell.strip() for cell in cells):
                continue
            raise FormatError(f"{path}: line {number}: expected {len(header)} tab-separated columns, got {len(cells)}")
        rows.append((number, [cell.strip() for cell in cells]))
    return rows


def _union(events: Iterable[Instance]) -> list[Instance]:
    """Events with overlapping and adjacent ones of a class merged."""
    joined: list[Instance] = []
    for event in sorted(events, key=lambda e: (e.label, e.start_s, e.end_s)):
        last = joined[-1] if joined else None
        if last is not None and last.label == event.label and event.start_s <= last.end_s:
            joined[-1] = Instance(last.start_s, max(last.end_s, event.end_s), event.label)
        else:
            joined.append(event)
    return joined


def _annotated(subsets: Mapping[str, Subset], events: Mapping[str, Sequence[Instance]]) -> tuple[VideoAnnotation, ...]:
    return tuple(
        VideoAnnotation(video, DURATION_S, subset.value, tuple(events.get(video, ())))
        for video, subset in subsets.items()
    )


def _feature_folders(root: Path, files: Sequence[str]) -> tuple[Track, ...]:
    tracks: list[Track] = []
    for base in (root, root / "feats"):
        for name in FEATURE_FOLDERS:
            if not tracks or all(track.name != name for track in tracks):
                tracks += read_feature_folder(base / name, EVEN, videos=files) if (base / name).is_dir() else ()
    return tuple(tracks)
