"""Files that vanish, shrink or cannot be read after they were found: one line that names them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avloc.config import read_config
from avloc.datasets.places import ArrayFile
from avloc.errors import AvlocError, FormatError, UnreadableError
from avloc.evaluate.reference import read_blocked
from avloc.features.backbones.hub_files import read_json
from avloc.features.manifest import read_manifest
from avloc.features.weights import read_state
from avloc.formats.activations import load_activations
from avloc.formats.corrections import read_corrections
from avloc.formats.detections import read_detections
from avloc.formats.features import _Opened, load_features, save_features
from avloc.formats.labels import read_labels
from avloc.formats.tags import read_tags
from avloc.formats.untrusted.bombs import read_document
from avloc.interchange.convert import read_segments
from avloc.model.checkpoint import load_model
from avloc.tagging.vocabulary import read_vocabulary
from avloc.train.metrics_log import read_metrics
from avloc.types import FeatureSequence, Provenance, SnippetGrid

READERS: dict[str, Callable[[Path], Any]] = {
    **dict.fromkeys(("a.csv", "a.json", "a.json.gz", "a.vtt", "a.txt", "a.eaf", "a.boris"), read_segments),
    **{f"a.{kind}": lambda path: ArrayFile(path).read() for kind in ("npy", "npz", "pkl", "pt", "h5")},
    "labels.csv": read_labels,
    "words.csv": read_vocabulary,
    "tags.csv": read_tags,
    "points.csv": read_corrections,
    "corrections.json": read_corrections,
    "segments.csv": read_detections,
    "blocked.txt": read_blocked,
    "metrics.jsonl": read_metrics,
    "manifest.csv": lambda path: read_manifest(path.parent),
    "config.yaml": read_config,
    "config.json": lambda path: read_json(path, "a configuration"),
    "features.safetensors": load_features,
    "scores.safetensors": load_activations,
    "model.safetensors": load_model,
    "weights.pth": read_state,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("error", [errno.ENOENT, errno.EACCES, errno.EIO], ids=["gone", "no permission", "broken disk"])
def test_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: int) -> None:
    path = tmp_path / name
    path.write_bytes(b"video,labels\nv,a\n")
    opened = Path.open

    def fail(self: Path, *given: Any, **more: Any) -> Any:
        if self == path:
            raise OSError(error, "as the system says", str(path))
        return opened(self, *given, **more)

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(AvlocError) as found:
        READERS[name](path)
    assert name in str(found.value)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "circle"])
def test_documents_are_files(tmp_path: Path, kind: str) -> None:
    """Reading /dev/zero took a gibibyte, a named pipe for ever."""
    path = tmp_path / "a.json"
    make = {
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "folder": path.mkdir,
        "circle": lambda: path.symlink_to(path),
    }
    make[kind]()
    with pytest.raises(UnreadableError, match=r"a\.json: cannot be read"):
        read_document(path)


def test_a_log_of_other_lines_is_refused(tmp_path: Path) -> None:
    """Ten million empty lines took over 40 s."""
    (tmp_path / "metrics.jsonl").write_bytes(b"\n" * 10**6)
    with pytest.raises(FormatError, match="a JSON object per line"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_an_unreadable_file_is_an_error_of_the_system_too(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="cannot be read"):
        read_document(tmp_path / "gone")
    assert issubclass(UnreadableError, OSError)


def test_features_that_shrink_while_they_are_read(tmp_path: Path) -> None:
    """A memory map of a file that shrinks ends the process (SIGBUS)."""
    path = tmp_path / "a.safetensors"
    rows = np.ones((1000, 1000), np.float32)
    save_features(
        path,
        FeatureSequence(
            "a", 1000.0, SnippetGrid(Fraction(0), Fraction(1), Fraction(1), 1000), rows, None, Provenance()
        ),
    )
    assert load_features(path).visual is not None
    with _Opened(path) as file:
        with path.open("rb+") as other:
            other.truncate(10_000)
        with pytest.raises(FormatError, match=r"a\.safetensors: it changed while it was read"):
            file.arrays()
        path.unlink()
        with pytest.raises(UnreadableError, match=r"a\.safetensors: cannot be read"):
            file.arrays()


def test_a_folder_that_vanishes_while_it_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone() -> None:
        list((tmp_path / "videos").iterdir())

    monkeypatch.setattr(import_module("avloc.cli.app"), "app", gone)
    with pytest.raises(SystemExit) as end:
        import_module("avloc.cli.app").main()
    assert end.value.code == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'videos'}: No such file or directory\n"
