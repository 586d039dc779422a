"""Files of Hugging Face models: both kinds of weights, folders, the hub's cache, no network, damage, wrong models."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from avloc.errors import InputError
from avloc.features.backbones import Setup, card, load_backbone, status
from avloc.features.backbones.families import FAMILIES
from avloc.features.backbones.hub import fetch
from avloc.features.weights import digest
from odd_weights import as_bin, hub_cache, tiny_frame_encoder, tiny_hub_folder

os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub at import
pytest.importorskip("transformers")
hub = pytest.importorskip("huggingface_hub")
CLIP = FAMILIES["clip"].repository
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    tiny_hub_folder("clip", folder)
    return folder


@pytest.fixture
def folder(clip: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clip, tmp_path / "model"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The network's names do not resolve; each attempt is listed. Downloads are allowed."""
    tried: list[Any] = []

    def refuse(*address: Any, **more: Any) -> Any:
        tried.append(address)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "AVLOC_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tried


def load_clip(folder: Path) -> Any:
    return load_backbone("clip", Setup({"clip": str(folder)}))


def features(backbone: Any) -> np.ndarray:
    if backbone.modality == "audio":
        return backbone(np.random.default_rng(0).normal(0, 0.1, (1, backbone.rate_hz)).astype(np.float32))
    size = backbone.frame_size if isinstance(backbone.frame_size, tuple) else (backbone.frame_size,) * 2
    shape = (1, backbone.frames_per_snippet or 1, *size, 3)
    return backbone(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


@pytest.mark.parametrize("family", list(FAMILIES))
def test_both_kinds_of_files_give_the_same_features(family: str, tmp_path: Path, monkeypatch: Any) -> None:
    tiny_hub_folder(family, tmp_path)
    tiny_frame_encoder(monkeypatch)
    safe = features(load_backbone(family, Setup({family: str(tmp_path)})))
    path = as_bin(tmp_path)
    backbone = load_backbone(family, Setup({family: str(tmp_path)}))
    assert backbone.weights == f"pytorch_model.bin sha256:{digest(path)}"
    np.testing.assert_array_equal(features(backbone), safe)


def test_safetensors_are_preferred_and_the_loaded_file_is_recorded(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"not read")
    (folder / "other.safetensors").write_bytes(b"not read")
    assert load_clip(folder).weights == f"model.safetensors sha256:{digest(folder / 'model.safetensors')}"


def test_shards(folder: Path) -> None:
    plain = features(load_clip(folder))
    from transformers import CLIPVisionModelWithProjection as Model

    Model.from_pretrained(folder).save_pretrained(folder / "shards", max_shard_size="20KB")
    backbone = load_clip(folder / "shards")
    shards = sorted((folder / "shards").glob("*.safetensors"))
    assert len(shards) > 1
    assert backbone.weights == "; ".join(f"{path.name} sha256:{digest(path)}" for path in shards)
    np.testing.assert_array_equal(features(backbone), plain)
    shards[1].unlink()
    with pytest.raises(InputError, match=rf"expected a folder with config\.json.*; {shards[1].name} is missing"):
        load_clip(folder / "shards")
    index = folder / "shards" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(InputError, match="expected names of weight files in the same folder"):
        load_clip(folder / "shards")


class Touch:
    """Pickled, it creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_bin_that_holds_code_is_refused(folder: Path) -> None:
    path = as_bin(folder)
    torch.save({"weight": torch.zeros(3), "more": Touch(folder / "ran")}, path)
    with pytest.raises(InputError) as caught:
        load_clip(folder)
    expected = f"{path}: expected tensors only, but it would run code ({os.mkdir.__module__}.mkdir); refused"
    assert str(caught.value) == expected
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("content", ["half", "empty", "html", "pointer"])
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_damaged_weights(folder: Path, kind: str, content: str) -> None:
    path = as_bin(folder) if kind == "bin" else folder / "model.safetensors"
    whole = path.read_bytes()
    contents = {"half": whole[: len(whole) // 2], "empty": b"", "html": b"<html>404</html>"}
    path.write_bytes(contents.get(content, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"))
    with pytest.raises(InputError, match=rf"{path.name}: expected ") as caught:
        load_clip(folder)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_an_interrupted_download_to_a_folder(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"expected a folder with .* or pytorch_model\.bin; the weights are missing$"):
        load_clip(folder)
    part = folder / ".cache" / "huggingface" / "download" / "abc.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"")
    with pytest.raises(InputError, match="a download was interrupted, run it again"):
        load_clip(folder)


def test_wrong_models(folder: Path, tmp_path: Path) -> None:
    tiny_hub_folder("dinov2", tmp_path / "other")
    with pytest.raises(InputError, match=r"expected a model for clip \(model_type clip or .*, got dinov2"):
        load_clip(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", folder)
    with pytest.raises(InputError, match=r"weights of CLIPVisionModelWithProjection are missing"):
        load_clip(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text("[1]")
    with pytest.raises(InputError, match=r"expected the JSON of a model's configuration, got a list"):
        load_clip(folder)
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": "wide"}))
    with pytest.raises(InputError, match="expected a CLIPVisionModelWithProjection of transformers") as caught:
        load_clip(folder)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"expected a folder with config\.json"):
        load_clip(tmp_path)


def test_weights_of_another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))
    with pytest.raises(InputError, match=r"cannot load it: .*size") as caught:
        load_clip(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_the_hubs_cache_is_used_without_a_request(
    clip: Path, folder: Path, cache: Path, requests: Any, kind: str
) -> None:
    path = as_bin(folder) if kind == "bin" else folder / "model.safetensors"
    root = hub_cache(cache, CLIP, folder)
    assert status(card("clip")) == "available"
    backbone = load_backbone("clip")
    assert backbone.weights == f"{CLIP}@{COMMIT}; {path.name} sha256:{digest(path)}"
    np.testing.assert_array_equal(features(backbone), features(load_clip(clip)))
    copied = load_backbone("clip", Setup({"clip": str(root)}))  # a copy of the cache on a machine without one
    assert copied.weights == f"{path.name} sha256:{digest(path)}"
    assert not requests


@pytest.mark.parametrize("variable", ["AVLOC_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_means_no_request_and_one_line(cache: Path, requests: Any, monkeypatch: Any, variable: str) -> None:
    monkeypatch.setenv(variable, "1")
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        load_backbone("clip")
    assert time.monotonic() - began < 2
    assert not requests
    assert str(caught.value) == (
        f"the weights of {CLIP} are not on this machine, and {variable} is set. On a machine with network access, run "
        f"`hf download {CLIP} --local-dir FOLDER`, and give --weights clip=FOLDER"
    )
    with pytest.raises(InputError, match=r"hf download some/where --local-dir FOLDER`, and give --weights dinov2="):
        load_backbone("dinov2:some/where")
    assert status(card("clip")).startswith("not available")


def test_no_network_is_found_out_at_once(cache: Path, requests: Any) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=r"are not on this machine and cannot be downloaded \(.*hf download openai/"):
        load_backbone("clip")
    assert time.monotonic() - began < 5
    assert len(requests) <= 2  # the client's own second attempt, without a pause


def test_half_a_download_in_the_cache(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLOC_OFFLINE", "1")
    root = hub_cache(cache, CLIP, folder)
    link = root / "snapshots" / COMMIT / "model.safetensors"
    blob = link.resolve()
    blob.write_bytes(blob.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(InputError, match=rf"expected sha256 {blob.name}, got .*: damaged; delete it"):
        load_backbone("clip")
    blob.rename(f"{blob}.incomplete")
    link.unlink()
    assert status(card("clip")).startswith("not available")
    with pytest.raises(InputError, match="not on this machine, and AVLOC_OFFLINE is set"):
        load_backbone("clip")


def fake_hub(monkeypatch: Any, cache: Path, source: Path, refuse: Exception | None = None) -> list[str]:
    """A hub with one repository; returns the list of downloaded files."""
    downloaded: list[str] = []

    def info(self: Any, repository: str, timeout: float) -> Any:
        assert timeout <= 10
        files = [path.name for path in source.iterdir()]
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in files])

    def download(repository: str, file: str) -> str:
        if refuse is not None:
            raise refuse
        downloaded.append(file)
        snapshot = cache / f"models--{repository.replace('/', '--')}" / "snapshots" / COMMIT
        snapshot.mkdir(parents=True, exist_ok=True)
        refs = snapshot.parent.parent / "refs"
        refs.mkdir(exist_ok=True)
        (refs / "main").write_text(COMMIT)
        return str(shutil.copy(source / file, snapshot))

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", info)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return downloaded


@pytest.mark.parametrize("kind", ["safetensors", "bin", "both", "shards"])
def test_only_what_is_needed_is_downloaded_and_once(
    folder: Path, cache: Path, requests: Any, monkeypatch: Any, kind: str
) -> None:
    source = folder
    if kind == "shards":
        from transformers import CLIPVisionModelWithProjection as Model

        source = folder / "shards"
        Model.from_pretrained(folder).save_pretrained(source, max_shard_size="20KB")
    elif kind != "safetensors":
        safe = (folder / "model.safetensors").read_bytes()
        as_bin(folder)
        if kind == "both":
            (folder / "model.safetensors").write_bytes(safe)
    (source / "tf_model.h5").write_bytes(b"")
    (source / "preprocessor_config.json").write_text('{"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}')
    downloaded = fake_hub(monkeypatch, cache, source)
    backbone = load_backbone("clip")
    expected = {
        "safetensors": ["model.safetensors"],
        "bin": ["pytorch_model.bin"],
        "both": ["model.safetensors"],
        "shards": ["model.safetensors.index.json", *sorted(path.name for path in source.glob("*.safetensors"))],
    }[kind]
    assert downloaded == ["config.json", "preprocessor_config.json", *expected]
    assert backbone.weights is not None
    assert backbone.weights.startswith(f"{CLIP}@{COMMIT}; {expected[-1] if kind != 'shards' else expected[1]} sha256:")
    assert backbone._normalization == ((0, 0, 0), (1, 1, 1))  # the repository's own
    load_backbone("clip")
    assert fetch("clip") == cache / f"models--{CLIP.replace('/', '--')}" / "snapshots" / COMMIT
    assert len(downloaded) == 2 + len(expected)


def test_repositories_without_weights_without_access_or_without_a_name(
    folder: Path, cache: Path, requests: Any, monkeypatch: Any
) -> None:
    (folder / "model.safetensors").unlink()
    fake_hub(monkeypatch, cache, folder)
    with pytest.raises(
        InputError, match=r"expected config\.json and model\.safetensors or pytorch_model\.bin, but the"
    ):
        load_backbone("clip")
    response = SimpleNamespace(headers={}, request=None, status_code=403)
    fake_hub(monkeypatch, cache, folder, hub.errors.GatedRepoError("403", response=response))
    gate = (
        r"accept the licence at https://huggingface\.co/facebook/dinov3\S+, log in with `hf auth login`, then run `hf"
    )
    with pytest.raises(InputError, match=rf"gated, and this account has no access.*{gate}"):
        load_backbone("dinov3")
    monkeypatch.setenv("AVLOC_OFFLINE", "1")
    with pytest.raises(InputError, match=gate):
        load_backbone("dinov3")
    assert "gated" in card("dinov3").licence
    with pytest.raises(InputError, match="expected the name of a repository, owner/name"):
        load_backbone("clip:a/b/c")
    assert card("clip:some/where").hub == "some/where"
    with pytest.raises(InputError, match="no backbone 'klip:some/where'"):
        card("klip:some/where")


def test_a_process_with_its_own_cache_and_no_network(folder: Path, tmp_path: Path) -> None:
    """As a user has it: HF_HOME, and AVLOC_OFFLINE only."""
    hub_cache(tmp_path / "home" / "hub", CLIP, folder)
    script = (
        "import socket\n"
        "def refuse(*a, **k): raise SystemExit('a request')\n"
        "socket.getaddrinfo = socket.socket.connect = refuse\n"
        "from avloc.features.backbones import load_backbone\n"
        "print(load_backbone('clip').weights)\n"
    )
    dropped = ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "TRANSFORMERS_OFFLINE")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    environment |= {"HF_HOME": str(tmp_path / "home"), "AVLOC_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{CLIP}@{COMMIT}; model.safetensors sha256:{digest(folder / 'model.safetensors')}\n"
    assert done.stderr == ""
