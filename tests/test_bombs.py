"""Files that claim or expand to more than any memory are refused at once, in a process with little memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from avloc.config import preset
from avloc.errors import AvlocError, FormatError
from avloc.formats.untrusted.bombs import gunzip
from avloc.model.checkpoint import ModelCard, save_model
from odd_files import SAMPLES, Read, make_all, measure

HUGE = 10**12


def npy_header(path: Path, shape: tuple[int, ...], descr: str = "<f4") -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
        file.write(bytes(64))


def packed_npz(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("feats.npy", "w") as file,
    ):
        header = {"descr": "<f4", "fortran_order": False, "shape": (75 << 20,)}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(3):
            file.write(bytes(100 << 20))


def sparse_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:  # no chunk is written: every element is the fill value
        file.create_dataset("feats", shape=(10**6, 10**6), dtype="f4", chunks=(1000, 1000), compression="gzip")


def xml_bomb(path: Path, encoding: str = "utf-8") -> None:
    lines = ['<!ENTITY a0 "ha">', *(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 12))]
    text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [{"".join(lines)}]><ANNOTATION_DOCUMENT>&a11;'
    path.write_bytes((text + "</ANNOTATION_DOCUMENT>").encode(encoding))


@cache
def packed_zeros() -> bytes:
    packed = io.BytesIO()
    with gzip.open(packed, "wb", compresslevel=1) as file:
        for _ in range(6):
            file.write(bytes(100 << 20))
    return packed.getvalue()


def zeros_gz(path: Path) -> None:
    path.write_bytes(packed_zeros())


def huge_model(path: Path) -> None:
    small, large = (preset("demo", {"model.embed_dim": size}) for size in (4, 10**7))
    card = ModelCard(small, ("a", "b"), 2, 3, {})
    save_model(path, ModelCard(large, ("a", "b"), 2, 3, {}), card.build().state_dict())


def aliases(path: Path) -> None:
    lines = [
        "a: &a [1, 2]",
        *(f"{y}: &{y} [{', '.join(['*' + x] * 9)}]" for x, y in zip("abcdefgh", "bcdefghi", strict=True)),
    ]
    path.write_text("\n".join(lines))


BOMBS: dict[str, tuple[Callable[[Path], object], str]] = {
    "header.npy": (lambda p: npy_header(p, (HUGE,)), "from avloc.formats.untrusted.arrays import load_array as read"),
    "empty_texts.npy": (
        lambda p: npy_header(p, (HUGE,), "|S0"),
        "from avloc.formats.untrusted.arrays import load_array as read",
    ),
    "index.npy": (
        lambda p: npy_header(p, (HUGE, 2)),
        "from avloc.formats.untrusted.arrays import index_arrays as read",
    ),
    "packed.npz": (packed_npz, "from avloc.formats.untrusted.arrays import load_arrays as read"),
    "sparse.h5": (sparse_h5, "from avloc.datasets.tracks import ArrayFile; read = lambda p: ArrayFile(p).read()"),
    "view.pt": (
        lambda p: torch.save({"feats": torch.zeros(1).expand(10**6, 10**6)}, p),
        "from avloc.datasets.tracks import ArrayFile; read = lambda p: ArrayFile(p).read().copy()",
    ),
    "nested.json": (
        lambda p: p.write_text("[" * 10**6),
        "from avloc.formats.annotations import read_annotations as read",
    ),
    "nested_object.json": (
        lambda p: p.write_text('{"database":' * 10**5),
        "from avloc.formats.annotations import read_annotations as read",
    ),
    "packed.json.gz": (zeros_gz, "from avloc.formats.annotations import read_annotations as read"),
    "packed.boris.gz": (zeros_gz, "from avloc.interchange.convert import read_segments as read"),
    "bomb.eaf": (xml_bomb, "from avloc.interchange.convert import read_segments as read"),
    "utf16.eaf": (lambda p: xml_bomb(p, "utf-16"), "from avloc.interchange.convert import read_segments as read"),
    "aliases.yaml": (aliases, "from avloc.config import read_config as read"),
    "huge.safetensors": (huge_model, "from avloc.model.checkpoint import load_model as read"),
}

QUICK = (
    *("lists.pkl", "itself.pkl", "ragged.pkl", "objects.npy", "lying.npz", "deflated.pt", "variable.h5"),
    *("scores.safetensors", "run.yaml", "objects.boris", "lzma.npz", "hashes.pkl", "hashes.pt", "videos.csv"),
    *("tags.csv", "scaled.h5", "state.pt", "record.json", "config.json"),
)
"""One sample of each kind; the others are slow."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Read]:
    """What became of the bombs and of the samples, each read in a process with little memory."""
    names = QUICK if "not slow" in request.config.getoption("markexpr") else ()
    files = make_all(tmp_path_factory.mktemp("odd"), names)
    folder = tmp_path_factory.mktemp("bombs")
    for name, (make, load) in BOMBS.items():
        make(folder / name)
        assert (folder / name).stat().st_size < 20 << 20
        files[folder / name] = load
    return {path.name: read for path, read in measure(files).items()}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_memory_is_taken(name: str, found: dict[str, Read]) -> None:
    read = found[name]
    assert read.word == "refused", read
    assert name in read.text
    assert read.megabytes < 300


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SAMPLES])
def test_files_that_repeat_or_claim_are_refused_within_their_budget(name: str, found: dict[str, Read]) -> None:
    read = found[name]
    assert read.word == "refused", read
    assert name in read.text
    assert "\n" not in read.text
    assert read.megabytes < (200 if name == "manifest.parquet" else 400)  # 343 where each text was decoded first
    assert read.seconds < 30


SPARSE = {
    "labels.csv": "from avloc.formats.labels import read_labels as read",
    "truth.json": "from avloc.formats.annotations import read_annotations as read",
    "cues.vtt": "from avloc.interchange.convert import read_segments as read",
    "tiers.eaf": "from avloc.interchange.convert import read_segments as read",
    "project.boris": "from avloc.interchange.convert import read_segments as read",
    "config.yaml": "from avloc.config import read_config as read",
    "failures.csv": "from avloc.formats.failures import read_failures as read",
    "job.json": "from avloc.workflow.memory import read_memory as read",
    "metrics.jsonl": "from avloc.train.metrics_log import read_metrics as read",
    "Annotations.txt": "from avloc.datasets.ave import read_ave; read = lambda p: read_ave(p.parent)",
    "state.pt": "from avloc.train.state import load_state as read",
}


def test_documents_of_any_size_are_refused_unread(tmp_path: Path) -> None:
    """5 GiB that take no space on the disk took 5 GiB of memory and 20 s."""
    for name in SPARSE:
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, 5 << 30)
    for path, read in measure({tmp_path / name: load for name, load in SPARSE.items()}).items():
        assert read.word == "refused", (path, read)
        assert path.name in read.text
        assert read.megabytes < 40
        assert read.seconds < 2


def test_what_is_packed_well_is_still_read(tmp_path: Path) -> None:
    text = json.dumps({"a": ["the same again"] * 10**6}).encode()
    (tmp_path / "a.gz").write_bytes(
        gzip.compress(text) + gzip.compress(b" ")
    )  # two members, as made by `cat a.gz b.gz`
    assert gunzip(tmp_path / "a.gz") == text + b" "
    (tmp_path / "b.gz").write_bytes(gzip.compress(text)[:-20])
    with pytest.raises(EOFError):
        gunzip(tmp_path / "b.gz")


def test_an_error_is_one_line_that_a_terminal_can_show() -> None:
    error = FormatError("a\nb \r\n c\x1b[31m\x07 \u202e" + "x" * 9999)
    assert str(error).startswith("a b c\\x1b[31m\\x07 \\u202exx")
    assert len(str(error)) < 2100
    assert issubclass(FormatError, AvlocError)
