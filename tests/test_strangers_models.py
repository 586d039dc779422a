"""Models of strangers: bounds, types, shapes, NaN and checksums are checked first, and nothing is fetched unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import save_file

from avloc.config import ExtractConfig, LocalizeConfig, RunConfig, preset
from avloc.config.options import Options
from avloc.errors import ConfigError, FormatError, InputError
from avloc.features import choose
from avloc.features.choose import require_here
from avloc.model.checkpoint import ModelCard, load_model, save_model
from avloc.model.files import MODEL_FILE
from avloc.pipeline.localizer import load

ENDLESS = {
    "model.num_stages": 10**9,
    "model.embed_dim": 10**9,
    "model.audio_embed_dim": 10**9,
    "model.grid_cells": 10**9,
    "model.leaky_slope": 1e30,
    "model.correlation_scale": 1e30,
    "loss.topk_divisor": 10**12,
    "loss.smooth_width": 10**9,
    "loss.neighbors": 10**9,
    "train.steps": 10**12,
    "train.batch_size": 10**9,
    "train.frozen_stages": 10**9,
    "localize.contrast.levels": 10**6,
    "localize.contrast.smooth_passes": 10**9,
    "localize.contrast.contrast_slope": 1e30,
    "localize.contrast.max_per_class": 10**12,
    "localize.contrast.outer_margin": 1e30,
    "localize.actions.smooth_snippets": 10**12,
    "localize.window_snippets": 10**12,
    "localize.min_snippets": 10**12,
    "extract.step_s": 1e-12,
    "extract.fps": 1e12,
    "extract.frames_per_snippet": 10**12,
    "extract.visual": "a" * 10**5,
}


def numbers(model: type[Options], prefix: str = "") -> list[str]:
    """All settings that are numbers, of which only those with a choice of words are left out."""
    found: list[str] = []
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Options):
            found += numbers(info.annotation, f"{prefix}{name}.")
        elif any(kind in str(info.annotation) for kind in ("int", "float")) and "Literal" not in str(info.annotation):
            found.append(f"{prefix}{name}")
    return found


@pytest.mark.parametrize("key", [key for key in numbers(RunConfig) if key != "train.seed"])
@pytest.mark.parametrize("value", [10**30, -(10**30), 1e300, float("nan"), float("inf")])
def test_every_number_has_bounds(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        preset("default", {key: value})


@pytest.mark.parametrize("key", ENDLESS)
def test_settings_that_would_take_for_ever(key: str) -> None:
    with pytest.raises(ConfigError):
        preset("default", {key: ENDLESS[key]})


def test_steps_of_frames_have_the_bounds_of_steps_in_seconds() -> None:
    with pytest.raises(ValidationError, match=r"snippets of 0\.001 to 3600 s"):
        ExtractConfig(frames_per_snippet=100_000, fps=0.001)
    assert float(ExtractConfig(frames_per_snippet=16, fps=25).step) == 0.64


def model_file(folder: Path, tensors: dict[str, torch.Tensor] | None = None, **facts: Any) -> Path:
    """A run folder whose model file has its metadata changed, with a checksum unless `sha256=None`."""
    card = ModelCard(preset("demo", {"model.embed_dim": 4}), ("a", "b"), 2, 3, {"visual": "appearance"})
    path = folder / MODEL_FILE
    save_model(path, card, card.build().state_dict())
    with safe_open(path, "pt") as file:
        weights, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    weights |= tensors or {}
    metadata = {key: value for key, value in {**metadata, **facts}.items() if value is not None}
    if "sha256" in metadata and (tensors or facts):
        from avloc.model import checkpoint

        del metadata["sha256"]
        metadata["sha256"] = checkpoint._checksum(weights, metadata)
    save_file(weights, path, metadata)
    return folder


def changed(path: str, value: Any) -> str:
    """The configuration with one value replaced, as JSON."""
    tree = json.loads(preset("demo", {"model.embed_dim": 4}).model_dump_json())
    here = tree
    *groups, name = path.split(".")
    for group in groups:
        here = here[group]
    here[name] = value
    return json.dumps(tree)


@pytest.mark.parametrize(
    "facts",
    [
        *({"config": changed(key, value)} for key, value in ENDLESS.items()),
        {"config": changed("model.embed_dim", "x")},
        {"config": changed("localize.contrast", 3)},
        {"config": "[" * 10**5},
        {"config": '{"model": {"embed_dim": ' + "9" * 4000 + "}}"},
        {"classes": '"ab"'},
        {"classes": '{"a": 1, "b": 2}'},
        {"classes": "[1, 2]"},
        {"classes": '["a", "a"]'},
        {"classes": '["a", ""]'},
        {"classes": "[]"},
        {"classes": '["a", "b", "c"]'},
        {"classes": "null"},
        {"backbones": '["appearance"]'},
        {"backbones": '{"visual": 3}'},
        {"backbones": '{"visual": null}'},
        {"backbones": '{"smell": "x"}'},
        {"versions": '{"visual": 3}'},
        {"audio_size": "-1"},
        {"audio_size": "9" * 4000},
        {"audio_size": "9" * 5000},
        {"visual_size": "1000000000"},
        {"step": "-1"},
        {"step": "1.5"},
        {"backbone_normalize": "other"},
    ],
)
def test_facts_that_no_model_has(facts: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=MODEL_FILE):
        load_model(model_file(tmp_path, **facts))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(FormatError, match=r"NaN or infinity in action_head\.bias"):
        load_model(model_file(tmp_path, {"action_head.bias": torch.tensor([0.0, value])}))


def test_shapes_are_compared_before_weights_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_file(tmp_path, {"more": torch.zeros(1000)})
    monkeypatch.setattr(torch.Tensor, "contiguous", None)  # the checksum would be the first use of a weight
    with pytest.raises(FormatError, match="more should be absent"):
        load_model(tmp_path)


def test_a_checksum_is_wanted_unless_told_otherwise(tmp_path: Path) -> None:
    run = model_file(tmp_path, sha256=None)
    with pytest.raises(FormatError, match=r"has no checksum.*--no-checksum"):
        load_model(run)
    assert load(run, "cpu", checksum=False).classes == ("a", "b")
    wrong = model_file(tmp_path)
    content = bytearray((wrong / MODEL_FILE).read_bytes())
    content[-1] ^= 1
    (wrong / MODEL_FILE).write_bytes(content)
    with pytest.raises(FormatError, match="damaged"):
        load_model(wrong)


def test_a_model_that_avloc_saved_is_loaded(tmp_path: Path) -> None:
    assert load(model_file(tmp_path), "cpu").classes == ("a", "b")


# --- backbones that a model names ------------------------------------------------------------------------------------


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that were fetched; no weights are on this machine."""
    names: list[str] = []
    monkeypatch.setattr(choose, "fetch_weights", names.append)
    monkeypatch.setattr(choose, "find", lambda weights, given: None)
    monkeypatch.setattr(choose, "find_cached", lambda repository: None)
    return names


@pytest.mark.parametrize("name", ["i3d", "resnet152", "efficientat-mn04", "clip", "ast"])
def test_weights_are_fetched_if_the_user_says_so(name: str, fetched: list[str]) -> None:
    side = "audio" if name in ("efficientat-mn04", "ast") else "visual"
    options = ExtractConfig(**{"visual": None, "audio": None, side: name})
    with pytest.raises(InputError, match=f"the model names the backbone {name}.*--allow-download"):
        require_here(options, False)
    assert fetched == []
    require_here(options, True)
    assert fetched == [name]


def test_no_other_repository_than_the_catalogues(fetched: list[str]) -> None:
    options = ExtractConfig(visual="clip:stranger/model", audio=None)
    for download in (False, True):
        with pytest.raises(InputError, match="not in avloc's catalogue"):
            require_here(options, download)
    assert fetched == []
    require_here(options.model_copy(update={"weights": {"clip": "folder"}}), False)  # the user's own folder


def test_what_needs_no_weights_or_has_them_is_used(monkeypatch: pytest.MonkeyPatch, fetched: list[str]) -> None:
    require_here(ExtractConfig(visual="appearance", audio="logmel"), False)
    monkeypatch.setattr(choose, "find", lambda weights, given: Path("here"))
    require_here(ExtractConfig(visual="i3d", audio="vggish"), False)
    assert fetched == []


def test_localizing_asks_before_it_decodes(tmp_path: Path, fetched: list[str]) -> None:
    run = model_file(tmp_path, backbones='{"visual": "i3d-rgb"}')
    (tmp_path / "v.mp4").write_bytes(b"not a video")
    with pytest.raises(InputError, match="--allow-download"):
        load(run, "cpu").localize(tmp_path / "v.mp4")


def test_the_localize_options_have_types() -> None:
    for wrong in ({"min_score": "x"}, {"contrast": []}, {"decode": ["actions"]}):
        with pytest.raises(ValidationError):
            LocalizeConfig.model_validate(wrong)
