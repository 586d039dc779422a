"""What a stranger's hub model states is bounded before a network is built, and its tokenizer's work too."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avloc.errors import AvlocError, InputError
from avloc.features.backbones import Setup, load_backbone
from avloc.features.backbones.hub_text import TextTower
from odd_weights import tiny_hub_folder, tiny_tokenizer, write_preprocessor
from test_hub_text import whole

os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub at import
transformers = pytest.importorskip("transformers")


def change(path: Path, **facts: Any) -> None:
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | facts))


def refused(load: Any, match: str) -> None:
    began = time.process_time()
    with pytest.raises(AvlocError, match=match):
        load()
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("facts", "match"),
    [
        ({"image_size": 10**6}, "image_size of at most 2048"),
        ({"image_size": 2048, "patch_size": 2}, "at most 32768 tokens"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers of at most 200"),
        ({"hidden_size": 10**9}, "hidden_size of at most 10000000"),
        ({"hidden_size": 65_536, "intermediate_size": 65_536}, r"a network of \d+ weights, its files hold"),
        ({"vision_config": {"num_hidden_layers": 10**6}}, "num_hidden_layers"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps"),
        ({"hidden_size": float("inf")}, "hidden_size"),
        ({"hidden_size": "16"}, "expected a CLIPVisionModelWithProjection"),
        ({"hidden_size": None}, "expected a CLIPVisionModelWithProjection"),
        ({"patch_size": 0}, "expected a CLIPVisionModelWithProjection"),
        ({"hidden_size": -16}, "expected a CLIPVisionModelWithProjection"),
        ({"model_type": ["clip"]}, "expected a model for clip"),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else "",
)
def test_configurations_of_a_stranger(tmp_path: Path, facts: dict[str, Any], match: str) -> None:
    tiny_hub_folder("clip", tmp_path)
    change(tmp_path / "config.json", **facts)
    refused(lambda: load_backbone("clip", Setup({"clip": str(tmp_path)})), match)


@pytest.mark.parametrize("family", ["videomae", "vjepa2", "ast", "clap"])
def test_long_inputs_are_refused_in_every_family(tmp_path: Path, family: str) -> None:
    """VideoMAE computes a row of numbers in Python for each token."""
    tiny_hub_folder(family, tmp_path)
    change(tmp_path / "config.json", num_frames=10**6, frames_per_clip=10**6, max_length=10**6, spec_size=10**6)
    refused(lambda: load_backbone(family, Setup({family: str(tmp_path)})), "config.json: expected")


@pytest.mark.parametrize(
    "facts",
    [
        {"image_mean": [float("nan")] * 3, "image_std": [1, 1, 1]},
        {"image_mean": [0, 0], "image_std": [1, 1]},
        {"image_mean": [0, 0, 0], "image_std": [0, 0, 0]},
        {"image_mean": "abc", "image_std": "def"},
        {"image_mean": [[0], [0], [0]], "image_std": [1, 1, 1]},
    ],
    ids=lambda facts: str(facts)[:40],
)
def test_processors_of_pictures(tmp_path: Path, facts: dict[str, Any]) -> None:
    tiny_hub_folder("clip", tmp_path)
    write_preprocessor(tmp_path, **facts)
    refused(lambda: load_backbone("clip", Setup({"clip": str(tmp_path)})), "image_|expected image_mean|image_mean")


@pytest.mark.parametrize(
    "facts",
    [
        {"sampling_rate": 0},
        {"sampling_rate": 10**9},
        {"sampling_rate": "a"},
        {"sampling_rate": -1},
        {"feature_size": 10**7},
        {"hop_length": 0},
        {"fft_window_size": 10**9},
        {"max_length_s": 10**6},
        {"max_length_s": -1},
    ],
    ids=str,
)
def test_front_ends_of_audio(tmp_path: Path, facts: dict[str, Any]) -> None:
    tiny_hub_folder("clap", tmp_path)
    write_preprocessor(tmp_path, **{"feature_size": 64, "sampling_rate": 48_000, **facts})
    refused(lambda: load_backbone("clap", Setup({"clap": str(tmp_path)})), ".")


def test_an_index_of_shards_that_is_none(tmp_path: Path) -> None:
    tiny_hub_folder("clip", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    for shards in ([1], {"a": [1]}, {"a": "../b"}, None, "x", {}):
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
        refused(lambda: load_backbone("clip", Setup({"clip": str(tmp_path)})), "expected names of weight files")
    (tmp_path / "refs").mkdir()
    for commit in (b"../..", b"\xff", b"a" * 10**6):
        (tmp_path / "refs" / "main").write_bytes(commit)
        refused(lambda: load_backbone("clip", Setup({"clip": str(tmp_path)})), "expected a commit in")


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def test_tokenizers_of_a_stranger(tmp_path: Path) -> None:
    whole("clip", tmp_path)
    path = tmp_path / "tokenizer.json"
    good = path.read_text()

    def tower() -> np.ndarray:
        return TextTower("clip", Setup({"clip": str(tmp_path)})).embed(["a" * 60 + "!"])

    assert np.isfinite(tower()).all()
    double = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    change(path, normalizer={"type": "Sequence", "normalizers": [double] * 60})
    refused(tower, "normalizers make a text up to")
    path.write_text(good)
    change(path, pre_tokenizer=split("(a+)+$"))  # catastrophic backtracking
    refused(tower, "the tokenizer of clip fails on these texts")
    for content in ("[", "[1]", '{"model": 3}', ""):
        path.write_text(content)
        refused(tower, "tokenizer")
    with path.open("wb") as file:
        file.truncate(5 << 30)
    refused(tower, "a tokenizer of at most")
    tiny_tokenizer(tmp_path, ["a"])
    change(tmp_path / "config.json", auto_map={"AutoModel": "tok.Evil", "AutoConfig": "tok.Evil"})
    change(tmp_path / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tok.Evil", None]}, tokenizer_class="Evil")
    (tmp_path / "tok.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert np.isfinite(tower()).all()  # without the code
    assert not (tmp_path / "ran").exists()


class PanicException(BaseException):
    """As tokenizers raises where its Rust panics."""


def test_a_tokenizer_that_panics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole("clip", tmp_path)
    tower = TextTower("clip", Setup({"clip": str(tmp_path)}))

    def panic(*given: object, **more: object) -> None:
        raise PanicException("retry-limit-in-match over")

    monkeypatch.setattr(tower, "_tokenizer", panic)
    with pytest.raises(InputError, match="the tokenizer of clip fails on these texts: retry-limit"):
        tower.embed(["a"])
