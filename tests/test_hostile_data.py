"""Fuzzed files: whatever a file contains, a reader returns or raises an AvlocError of one line.

Each reader gets a good file damaged by hypothesis: bytes changed, problematic words inserted, pieces removed or
repeated, and in JSON any part replaced. AVLOC_FUZZ=1000 runs more examples than the default suite.
"""

from __future__ import annotations

import copy
import gzip
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avloc.config import parse_overrides, preset, read_config
from avloc.datasets.open import open_collection
from avloc.datasets.tracks import ArrayFile
from avloc.errors import AvlocError
from avloc.evaluate.reference import read_blocked
from avloc.features import layout
from avloc.features.layout import load_npy
from avloc.features.manifest import Row, read_manifest, write_manifest
from avloc.formats.activations import load_activations, save_activations
from avloc.formats.annotations import read_annotation_columns, read_annotations
from avloc.formats.detections import read_detections
from avloc.formats.features import load_features, save_features
from avloc.formats.labels import read_labels
from avloc.formats.results import RunSource, find_results
from avloc.formats.untrusted.arrays import index_arrays, load_array, load_arrays, load_pickle, load_tensors
from avloc.interchange.convert import read_segments
from avloc.interchange.registry import write_formats
from avloc.interchange.segments import VideoSegments
from avloc.model.checkpoint import ModelCard, load_model, save_model
from avloc.train.record import read_record
from avloc.train.state import load_state
from avloc.types import ActivationSequence, Detection, FeatureSequence, Provenance, SnippetGrid

EXAMPLES = int(os.environ.get("AVLOC_FUZZ", "12"))
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize="AVLOC_FUZZ" not in os.environ,
)

TROUBLE = [
    *(
        b"\0",
        b"\xff",
        b"\xff\xfe",
        b"\r",
        b"\x0b",
        b"\x1c",
        b"\xe2\x80\xa8",
        b'"',
        b"'",
        b"\\",
        b"\n\n",
        b",,,",
        b";",
        b"\t",
    ),
    *(b"nan", b"NaN", b"inf", b"-Infinity", b"1e999", b"-1", b"0", b"9" * 30, b"9" * 5000, b"null", b"true", b"1e-400"),
    *(
        b"[",
        b"{",
        b"]",
        b"}",
        b"[]",
        b"{}",
        b"<",
        b">",
        b"</a>",
        b"&amp;",
        b"&x;",
        b"-->",
        b"WEBVTT",
        b"NOTE\n",
        b"\x80",
    ),
    *(b"a" * 200_000, b"../../x", b"/etc/passwd", b"--\n", b"!!python/object:os.system", b"&a", b"*a", b"2001-99-99"),
]


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """A file with one to four kinds of damage."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        kind = draw(st.sampled_from(("byte", "bit", "word", "word", "over", "lose", "double", "cut")))
        size = draw(st.integers(1, 40))
        if kind == "byte":
            found[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "bit" and found:
            found[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "word":
            found[at:at] = draw(st.sampled_from(TROUBLE))
        elif kind == "over":
            word = draw(st.sampled_from(TROUBLE))
            found[at : at + len(word)] = word
        elif kind == "lose":
            del found[at : at + size]
        elif kind == "double":
            found[at:at] = found[at : at + size]
        else:
            del found[at:]
    return bytes(found)


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [-1, 0, 2**63, 10**400, 1e308, -0.0, float("nan"), float("inf"), "", "x", "1", "..", "\ud800", "1e9"]
    ),
    st.sampled_from([[], {}, [[]], [1, 2, 3], {"a": {}}, [None], ["a", "b"], [[1, 2], [3, 4]]]),
)


@st.composite
def replaced(draw: st.DrawFn, value: Any) -> Any:
    """JSON with one to three of its parts replaced, removed or repeated."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        here: Any = value
        while isinstance(here, dict | list) and here:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            key = draw(st.sampled_from(keys))
            below = here[key]
            if not isinstance(below, dict | list) or not below or draw(st.integers(0, 3)) == 0:
                if draw(st.integers(0, 5)) == 0:
                    del here[key]
                else:
                    here[key] = copy.deepcopy(draw(ODD))
                break
            here = below
    return value


def survives(read: Callable[[Path], Any], path: Path) -> None:
    said = "."
    try:
        read(path)
    except AvlocError as error:
        said = str(error)
    assert said
    assert "\n" not in said


# --- good files ---

GRID = SnippetGrid.cover(4, 1)
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)
ANNOTATIONS = {
    "version": "1",
    "taxonomy": [],
    "database": {
        "v1": {"subset": "training", "duration": 9.5, "annotations": [{"label": "a", "segment": [1.0, 2.5]}]},
        "v2": {"subset": "validation", "duration": 4, "annotations": [{"label": "b", "segment": [0, 3]}]},
        "v3": {"subset": "testing", "duration": 4.0},
    },
}
SUBMISSION = {
    "version": "1",
    "results": {"v1": [{"label": "a", "segment": [1.0, 2.5], "score": 0.5}], "v2": []},
    "external_data": {"used": False, "details": ""},
}
SEGMENTS = (Detection(0.5, 2.0, "dog", 0.75), Detection(1.0, 3.25, "rain & wind", 0.5), Detection(1.5, 2.5, "dog", 0.1))


def tables(folder: Path) -> None:
    (folder / "labels.csv").write_text('video,labels,subset\nv1.mp4,dog;rain,train\n"v,2",,validation\nv3,"a b",test\n')
    (folder / "segments.csv").write_text("video,start_s,end_s,label,score\nv1,0.5,2.0,dog,0.7\nv2,1,2,cat,0.1\n")
    (folder / "blocked.txt").write_text("v1\nv2\n")
    (folder / "blocked.json").write_text('["v1", "v2"]')
    (folder / "truth.json").write_text(json.dumps(ANNOTATIONS))
    (folder / "truth.json.gz").write_bytes(gzip.compress(json.dumps(ANNOTATIONS).encode(), mtime=0))
    (folder / "found.json").write_text(json.dumps(SUBMISSION))
    videos = [VideoSegments("v1", SEGMENTS, 4.0)]
    write_formats(folder, ["vtt", "audacity", "elan", "via", "boris"], videos)
    for file in (folder / "per-video").iterdir():
        shutil.copy(file, folder / file.name)


def arrays(folder: Path) -> None:
    np.save(folder / "plain.npy", ROWS)
    np.save(folder / "objects.npy", np.array([ROWS, ROWS[:2], None], dtype=object), allow_pickle=True)
    np.save(folder / "texts.npy", np.array([b"ab", b"c"]))
    each = np.empty(2, dtype=object)
    each[:] = [np.ones((300, 3), np.float32), ROWS]
    np.save(folder / "each.npy", each, allow_pickle=True)
    np.savez(folder / "some.npz", feats=ROWS, other=ROWS)
    np.savez_compressed(folder / "packed.npz", feats=ROWS)
    (folder / "some.pkl").write_bytes(pickle.dumps({"feature": ROWS, "fps": 25.0, "name": "x"}, 4))
    (folder / "old.pkl").write_bytes(pickle.dumps([ROWS, "x"], 2))
    torch.save({"feats": torch.from_numpy(ROWS), "n": 3}, folder / "some.pt")
    with h5py.File(folder / "some.h5", "w") as file:
        file["feats"] = ROWS
    with h5py.File(folder / "packed.h5", "w") as file:
        file.create_dataset("v1/rgb", data=ROWS, chunks=True, compression="gzip", track_times=False)
        file.create_dataset("v1/vggish", data=ROWS, track_times=False)


def ours(folder: Path) -> None:
    features = FeatureSequence("v1", 4.0, GRID, ROWS, ROWS[:, :2], Provenance({"visual": "a", "audio": "b"}))
    save_features(folder / "v1.safetensors", features)
    layout.save(folder, features, "npy", "float32")
    probs = np.full((4, 3), 1 / 3)
    save_activations(
        folder / "scores.safetensors", ActivationSequence("v1", 4.0, GRID, ("a", "b"), probs, probs[0, :2])
    )
    config = preset("demo", {"model.embed_dim": 4})
    card = ModelCard(config, ("a", "b"), 2, 3, {"visual": "a"})
    save_model(folder / "model.safetensors", card, card.build().state_dict())
    (folder / "config.yaml").write_text(config.to_yaml())
    write_manifest(folder / "manifest.parquet", [Row("v1", "v1.mp4", "done", snippets=4)])
    (folder / "manifest.csv").write_text(
        "video,path,status,reason,note,seconds,duration_s,snippets,visual_size,audio_size,bytes\nv1,v1.mp4,done,,,0.5,4.0,4,3,2,100\n"
    )
    record = {
        "config": {},
        "classes": ["a"],
        "seed": 0,
        "versions": {},
        "commit": "",
        "history": [],
        "scores": {"selected_step": 1, "selection_score": 0.5, "train_videos": 2, "validation_videos": 0},
    }
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "videos.csv").write_text(
        "video,duration_s,labels,detections,modalities,path\nv1,4.0,dog,1,audio,/x.mp4\n"
    )
    (folder / "run.yaml").write_text(yaml.safe_dump({"avloc": "1", "config": {"localize": {"decode": "actions"}}}))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    for make in (tables, arrays, ours):
        make(folder)
    return folder


def read_results(path: Path) -> RunSource:
    return find_results(path).read()


def as_folder(name: str, read: Callable[[Path], Any], *beside: str) -> Callable[[Path], Any]:
    """A reader of folders that contain one damaged file."""

    def inner(path: Path) -> Any:
        for other in beside:
            shutil.copy(GOOD[other], path.parent / other)
        return read(path.parent)

    return inner


GOOD: dict[str, Path] = {}

READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "labels": ("labels.csv", read_labels),
    "segments table": ("segments.csv", read_segments),
    "detections table": ("segments.csv", read_detections),
    "blocked": ("blocked.txt", read_blocked),
    "blocked json": ("blocked.json", read_blocked),
    "ground truth": ("truth.json", read_annotations),
    "ground truth columns": ("truth.json", read_annotation_columns),
    "ground truth packed": ("truth.json.gz", read_annotations),
    "data set": ("truth.json", open_collection),
    "submission": ("found.json", read_detections),
    "webvtt": ("v1.vtt", read_segments),
    "audacity": ("v1.txt", read_segments),
    "elan": ("v1.eaf", read_segments),
    "via": ("segments.via.json", read_segments),
    "boris": ("segments.boris", read_segments),
    "npy": ("plain.npy", load_array),
    "npy objects": ("objects.npy", load_array),
    "npy texts": ("texts.npy", load_array),
    "npy index": ("each.npy", index_arrays),
    "npz": ("some.npz", load_arrays),
    "npz packed": ("packed.npz", load_arrays),
    "pickle": ("some.pkl", load_pickle),
    "old pickle": ("old.pkl", load_pickle),
    "pt": ("some.pt", load_tensors),
    "hdf5": ("some.h5", lambda path: ArrayFile(path).read()),
    "hdf5 data set": ("packed.h5", lambda path: [open_collection(path).features.load(v, 4.0) for v in ("v1",)]),
    "features": ("v1.safetensors", load_features),
    "activations": ("scores.safetensors", load_activations),
    "model": ("model.safetensors", load_model),
    "config": ("config.yaml", read_config),
    "manifest": ("manifest.csv", lambda path: read_manifest(path.parent)),
    "manifest parquet": ("manifest.parquet", lambda path: read_manifest(path.parent)),
    "record": ("record.json", lambda path: read_record(path.parent)),
    "npy layout": ("v1.json", as_folder("v1", lambda folder: load_npy(folder, "v1"), "v1_a.npy", "v1_b.npy")),
    "npy layout array": ("v1_a.npy", as_folder("v1", lambda folder: load_npy(folder, "v1"), "v1.json", "v1_b.npy")),
    "run": ("videos.csv", as_folder("run", read_results, "segments.csv", "run.yaml")),
    "run card": ("run.yaml", as_folder("run", read_results, "segments.csv", "videos.csv")),
}


def fresh(good: Path, tmp_path: Path) -> Path:
    """An empty folder for the next example; GOOD has the good files for readers of several files."""
    GOOD.update({path.name: path for path in good.iterdir()})
    home = tmp_path / "in"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    return home


@pytest.mark.parametrize("name", READERS)
@fuzz
@given(data=st.data())
def test_damaged_files(name: str, data: st.DataObject, good: Path, tmp_path: Path) -> None:
    file, read = READERS[name]
    path = fresh(good, tmp_path) / file
    path.write_bytes(data.draw(damaged((good / file).read_bytes())))
    survives(read, path)


@pytest.mark.parametrize(
    "name",
    ["ground truth", "ground truth columns", "data set", "submission", "boris", "npy layout", "record", "blocked json"],
)
@fuzz
@given(data=st.data())
def test_json_of_other_shape(name: str, data: st.DataObject, good: Path, tmp_path: Path) -> None:
    file, read = READERS[name]
    path = fresh(good, tmp_path) / file
    changed = data.draw(replaced(json.loads((good / file).read_text())))
    path.write_text(json.dumps(changed), encoding="utf-8")
    survives(read, path)


@pytest.mark.parametrize("name", ["features", "activations", "model"])
@fuzz
@given(data=st.data())
def test_safetensors_headers_of_other_content(name: str, data: st.DataObject, good: Path, tmp_path: Path) -> None:
    """Only the header is damaged."""
    file, read = READERS[name]
    raw = (good / file).read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    facts = dict(header["__metadata__"])
    key = data.draw(st.sampled_from(sorted(facts)))
    text = st.one_of(
        ODD.map(lambda v: json.dumps(v, default=str)),
        st.sampled_from(["1e999999999", "9" * 5000, "[" * 10**5, "1/0", "nan"]),
    )
    if facts[key].startswith(("{", "[")) and data.draw(st.booleans()):
        facts[key] = json.dumps(data.draw(replaced(json.loads(facts[key]))))
    else:
        facts[key] = data.draw(text)
    header["__metadata__"] = facts
    packed = json.dumps(header).encode()
    path = tmp_path / file
    path.write_bytes(len(packed).to_bytes(8, "little") + packed + raw[8 + size :])
    survives(read, path)


KEYS = [f"{section}.{key}" for section, part in preset().model_dump().items() for key in part]


@fuzz
@given(
    key=st.one_of(st.sampled_from(KEYS), st.text(max_size=8)),
    value=st.one_of(st.text(max_size=20), st.sampled_from([t.decode("latin-1") for t in TROUBLE])),
)
def test_overrides(key: str, value: str) -> None:
    survives(lambda _: preset("default", parse_overrides([f"{key}={value}"])), Path())


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", ["config.yaml", "record.json", "state.pt", "manifest.csv", "labels.csv", "truth.json"])
def test_what_is_no_file_is_not_read(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    readers: dict[str, Callable[[Path], object]] = {
        "config.yaml": read_config,
        "record.json": lambda p: read_record(p.parent),
        "state.pt": load_state,
        "manifest.csv": lambda p: read_manifest(p.parent),
        "labels.csv": read_labels,
        "truth.json": read_annotations,
    }
    with pytest.raises(AvlocError):
        readers[name](path)
