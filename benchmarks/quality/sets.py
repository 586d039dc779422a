"""Feature sets in avloc's layout: as they are, converted from npz, or with modalities removed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from avloc.errors import InputError
from avloc.formats.annotations import read_annotations
from avloc.formats.features import FeatureStore, save_features
from avloc.formats.labels import LabelRow, LabelTable, read_labels, write_labels
from avloc.paper.cells import DataSet, open_data
from avloc.system.text import fingerprint
from avloc.types import FeatureSequence, Provenance, SnippetGrid

GAPS = 0.3
"""Share of the training videos without one modality in `with_gaps`: half without audio, half without visual."""


def open_set(folder: Path, out: Path) -> DataSet:
    """A set named after its folder; npz features are converted once, into OUT/sets.

    Raises:
        InputError: the folder is in neither layout.
    """
    home = folder
    if not (folder / "features").is_dir() or any((folder / "features").glob("*.npz")):
        home = out / "sets" / f"{folder.name}-{fingerprint(str(folder.resolve()))[:8]}"
        if not (home / "ground_truth.json").exists():
            _convert(folder, home)
    return replace(open_data(str(home)), name=folder.name)


def _convert(folder: Path, home: Path) -> None:
    """Convert features/VIDEO.npz (visual, audio, snippet_s) and labels.csv; ground_truth.json is written last."""
    source = folder / "ground_truth.json"
    if not source.exists() or not any(folder.glob("features/*.npz")):
        raise InputError(f"{folder}: expected labels.csv, ground_truth.json and features/ with .safetensors or .npz")
    for truth in read_annotations(source)[0]:
        path = folder / "features" / f"{truth.video_id}.npz"
        if path.exists():
            features = _from_npz(path, truth.video_id, truth.duration_s)
            save_features(home / "features" / f"{truth.video_id}.safetensors", features, "float16")
    write_labels(home / "labels.csv", read_labels(folder / "labels.csv"))
    shutil.copyfile(source, home / "ground_truth.json")


def _from_npz(path: Path, video_id: str, duration_s: float) -> FeatureSequence:
    with np.load(path) as arrays:
        step = Fraction(str(float(arrays["snippet_s"])))
        tracks = {name: arrays[name].astype(np.float32) for name in ("visual", "audio") if name in arrays}
    count = len(next(iter(tracks.values())))
    grid = replace(SnippetGrid.cover(duration_s, step), count=count)  # the file may treat a short tail differently
    names = dict.fromkeys(tracks, "npz")
    return FeatureSequence(video_id, duration_s, grid, tracks.get("visual"), tracks.get("audio"), Provenance(names))


def made(data: DataSet, out: Path, kind: str) -> Path:
    """The folder of a set that is made from another; two sets of one name do not share it."""
    return out / "sets" / f"{data.name}-{data.fingerprint[:8]}-{kind}"


def with_gaps(data: DataSet, out: Path) -> DataSet:
    """The same set with one modality removed from GAPS of its training videos; made once, always the same."""
    home = made(data, out, "gaps")
    if not (home / "ground_truth.json").exists():
        train = [row.video_id for row in read_labels(data.labels).rows if row.subset == "train"]
        lacking = np.random.default_rng(0).permutation(train)[: round(GAPS * len(train))].tolist()
        gone = {video: ("audio", "visual")[k % 2] for k, video in enumerate(lacking)}
        store = FeatureStore(data.features)
        for video in store.ids:
            features = store.load(video)
            if video in gone and len(features.modalities) == 2:
                features = replace(features, **{gone[video]: None})
            save_features(home / "features" / f"{video}.safetensors", features, "float16")
        shutil.copyfile(data.labels, home / "labels.csv")
        shutil.copyfile(data.folder / "ground_truth.json", home / "ground_truth.json")
    return replace(open_data(str(home)), name=data.name)


def held_out(
    data: DataSet, out: Path, folds: int = 5, fold: int = 0, alike: bool = False, component: int = 1
) -> DataSet:
    """One fold of the training videos as the subset test, the others as train; the real test videos are left out.

    Args:
        folds, fold: every `folds`-th video, from `fold` on.
        alike: a fold holds videos that resemble each other, unlike the others (`_sorted_by_content`).
        component: the principal component along which they do, from 1 on.
    """
    kind = "" if not alike else "-alike" if component == 1 else f"-alike-{component}"
    suffix = f"-{fold}-of-{folds}{kind}" if (folds, fold, alike) != (5, 0, False) else ""
    home = made(data, out, f"held-out{suffix}")
    if not (home / "ground_truth.json").exists():
        store = FeatureStore(data.features)
        train = [row for row in read_labels(data.labels).rows if row.subset == "train" and row.video_id in store]
        train, count = (_sorted_by_content(train, store, component) if alike else train), len(train)
        part = [k * folds // count if alike else k % folds for k in range(count)]
        rows = [replace(row, subset="test" if p == fold else "train") for row, p in zip(train, part, strict=True)]
        for row in rows:
            save_features(home / "features" / f"{row.video_id}.safetensors", store.load(row.video_id), "float16")
        write_labels(home / "labels.csv", LabelTable(tuple(rows)))
        shutil.copyfile(data.folder / "ground_truth.json", home / "ground_truth.json")
    return replace(open_data(str(home)), name=data.name)


def _sorted_by_content(rows: Sequence[LabelRow], store: FeatureStore, component: int) -> list[LabelRow]:
    """Videos by their rank, within the first class, along a principal component of their mean features.

    Equal shares of every class, each of videos that resemble each other, come one after the other.
    """
    where: dict[str, float] = {}
    for label in sorted({row.labels[:1] for row in rows}):
        members = [row.video_id for row in rows if row.labels[:1] == label]
        loaded = [store.load(video) for video in members]
        shared = [name for name in ("visual", "audio") if all(name in f.modalities for f in loaded)]
        tracks = [[getattr(f, name).mean(axis=0) for f in loaded] for name in shared]
        means = np.concatenate([np.array(track) / (np.std(track, axis=0).mean() + 1e-9) for track in tracks], axis=1)
        centred = means - means.mean(axis=0)
        along = centred @ np.linalg.svd(centred, full_matrices=False)[2][component - 1]
        ranks = np.argsort(np.argsort(along, kind="stable"), kind="stable")
        where |= {video: (int(rank) + 0.5) / len(members) for video, rank in zip(members, ranks, strict=True)}
    return sorted(rows, key=lambda row: where[row.video_id])
