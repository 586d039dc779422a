"""Audio models of the Hugging Face hub: rows that lie where the audio is, for windows of any length."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avloc.errors import InputError
from avloc.features.backbones import Setup, load_backbone
from avloc.features.backbones.families import FAMILIES
from avloc.features.backbones.protocol import WindowedAudioBackbone
from avloc.features.windowed import WindowedAudioRows
from avloc.types import SnippetGrid
from odd_weights import tiny_hub_folder

os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub at import
transformers = pytest.importorskip("transformers")
AUDIO = [name for name, family in FAMILIES.items() if family.modality == "audio"]


@pytest.fixture(scope="module", params=AUDIO)
def backbone(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    tiny_hub_folder(request.param, folder)
    loaded = load_backbone(request.param, Setup({request.param: str(folder)}))
    assert isinstance(loaded, WindowedAudioBackbone)
    return loaded


def noise(seconds: float, rate_hz: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1e-3, (1, round(seconds * rate_hz))).astype(np.float32)


@pytest.mark.parametrize("seconds", [2.2, 4.9])
def test_the_row_that_changes_most_is_where_the_click_is(backbone: Any, seconds: float) -> None:
    """The clock of the rows, checked through the front end and the network."""
    quiet = noise(seconds, backbone.rate_hz)
    plain = backbone(quiet)
    errors_s = []
    for at_s in np.linspace(0.3, seconds - 0.3, 6):
        clicked = quiet.copy()
        middle = round(at_s * backbone.rate_hz)
        half = round(0.01 * backbone.rate_hz)
        clicked[:, middle - half : middle + half] += np.random.default_rng(1).normal(0, 0.3, 2 * half)
        change = np.abs(backbone(clicked) - plain).sum(axis=(0, 2))
        found_s = float(backbone.first_s) + int(change.argmax()) * float(backbone.row_s)
        errors_s.append(found_s - at_s)
    assert np.abs(errors_s).max() <= 1.5 * float(backbone.row_s) + 0.02
    assert abs(np.mean(errors_s)) <= 1.01 * float(backbone.row_s)  # random convolutions may prefer a neighbour


@pytest.mark.parametrize("seconds", [0.001, 0.3, 1, 3.33, "window", "window and a row"])
def test_rows_cover_the_window(backbone: Any, seconds: Any) -> None:
    if seconds == "window":
        seconds = backbone.window_s
    elif seconds == "window and a row":
        seconds = backbone.window_s + backbone.row_s
    samples = max(1, round(seconds * backbone.rate_hz))
    rows = backbone(np.random.default_rng(0).normal(0, 0.1, (2, samples)).astype(np.float32))
    assert rows.shape[::2] == (2, backbone.size)
    assert np.isfinite(rows).all()
    end_s = float(backbone.first_s + (rows.shape[1] - 0.5) * float(backbone.row_s))
    assert end_s >= float(seconds) - 1 / backbone.rate_hz
    assert rows.shape[1] == 1 or end_s - float(backbone.row_s) < float(seconds)


def test_windows_of_a_batch_do_not_mix(backbone: Any) -> None:
    batch = np.random.default_rng(0).normal(0, 0.1, (5, round(backbone.window_s * backbone.rate_hz)))
    batch = batch.astype(np.float32)
    np.testing.assert_allclose(backbone(batch)[4], backbone(batch[4:])[0], rtol=1e-4, atol=1e-5)


def test_a_long_recording_has_a_feature_for_each_snippet(backbone: Any) -> None:
    grid = SnippetGrid.cover(13.7, 1)
    rows = WindowedAudioRows(backbone, grid)
    audio = noise(13.7, backbone.rate_hz)[0]
    for start in range(0, len(audio), 50_000):
        rows.push(audio[start : start + 50_000])
    found = rows.finish(grid.count)
    assert found.shape == (grid.count, backbone.size)
    assert np.isfinite(found).all()


def test_clocks_of_the_published_models() -> None:
    from avloc.features.backbones import hub_audio

    ast = hub_audio._AstRows(type("Model", (torch.nn.Module,), {"config": transformers.ASTConfig()})(), None)
    assert (float(ast.row_s), float(ast.first_s), ast._times) == (0.1, 0.0875, 101)
    assert float(hub_audio._window_s(ast)) == 10
    model = transformers.ClapAudioModelWithProjection(transformers.ClapAudioConfig(num_hidden_layers=4))
    clap = hub_audio._ClapRows(model, transformers.ClapFeatureExtractor(truncation="rand_trunc"))
    assert float(clap.row_s) == pytest.approx(10 * 32 / 1023)
    assert float(clap.first_s) == pytest.approx(10 * 15.5 / 1023)
    assert float(hub_audio._window_s(clap)) == 9.6
    with torch.inference_mode():
        assert clap(torch.zeros(1, 1, 1001, 64)).shape == (1, 32, 512)


def test_the_mean_of_clap_over_time_is_its_pooled_output(tmp_path: Path) -> None:
    from avloc.features.backbones.hub_audio import _ClapRows

    model = tiny_hub_folder("clap", tmp_path)
    rows = _ClapRows(model, transformers.ClapFeatureExtractor(truncation="rand_trunc"))
    rows.projection = torch.nn.Identity()
    spectrum = torch.randn(1, 1, 1001, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pooled = model.audio_model(spectrum).pooler_output
        torch.testing.assert_close(rows(spectrum).mean(dim=1), pooled)


def test_models_that_take_too_little_or_too_much_are_refused(tmp_path: Path) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ASTConfig(**small, max_length=128, num_mel_bins=32)  # as of models for spoken commands
    transformers.ASTModel(config).save_pretrained(tmp_path / "ast")
    with pytest.raises(InputError, match=r"ast: its input is 1\.1 s of audio; expected a model for 3 s or more"):
        load_backbone("ast", Setup({"ast": str(tmp_path / "ast")}))
    model = tiny_hub_folder("clap", tmp_path / "clap")
    model.config.enable_fusion = True
    transformers.ClapAudioModelWithProjection(model.config).save_pretrained(tmp_path / "clap")
    with pytest.raises(InputError, match=r"clap: this CLAP model fuses long audio.*use an unfused model"):
        load_backbone("clap", Setup({"clap": str(tmp_path / "clap")}))
