"""Hugging Face families: tiny random models in local folders, with our crop and normalisation, without torchvision."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import odd_media as odd
from avloc.errors import InputError
from avloc.features.backbones import Setup, VisualBackbone, card, load_backbone, status
from avloc.features.backbones.families import FAMILIES
from avloc.features.video import extract_features
from avloc.media.probe import probe
from odd_weights import SMALL_TEXT, tiny_frame_encoder, tiny_hub_folder, write_preprocessor

os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub at import
pytest.importorskip("transformers")
SIZES = {
    "clip": 12,
    "siglip": 16,
    "siglip2": 16,
    "dinov2": 16,
    "dinov3": 16,
    "videomae": 16,
    "vjepa2": 24,
    "pe-av": 12,
    "ast": 16,
    "clap": 12,
    "pe-a-frame": 12,
}
CLIPS = ("videomae", "vjepa2", "pe-av")
VISUAL = [name for name, family in FAMILIES.items() if family.modality == "visual"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], dict[str, Any]]:
    root = tmp_path_factory.mktemp("hub")
    models = {family: tiny_hub_folder(family, root / family) for family in FAMILIES}
    write_preprocessor(
        root / "ast", feature_extractor_type="ASTFeatureExtractor", max_length=512, num_mel_bins=32, sampling_rate=16000
    )
    return {family: root / family for family in FAMILIES}, models


def test_all_families_are_tried() -> None:
    assert set(SIZES) == set(FAMILIES)


@pytest.fixture(autouse=True)
def without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_frame_encoder(monkeypatch)


@pytest.mark.parametrize("family", list(SIZES))
def test_a_video_through_each_family(folders: Any, family: str, tmp_path: Path) -> None:
    backbone = load_backbone(family, Setup({family: str(folders[0][family])}))
    assert backbone.name == family
    assert backbone.size == SIZES[family]
    assert backbone.weights is not None
    assert backbone.weights.startswith("model.safetensors sha256:")
    pictures = [np.full((48, 64, 3), (40 + i, 90, 200 - 2 * i), np.uint8) for i in range(20)]
    sound = np.random.default_rng(0).normal(0, 0.1, (1, 32000)).astype(np.float32)
    path = odd.write_video(tmp_path / "a.mkv", pictures, sound=sound)
    pair = (backbone, None) if isinstance(backbone, VisualBackbone) else (None, backbone)
    features = extract_features(probe(path), *pair)
    rows = features.visual if features.visual is not None else features.audio
    assert rows is not None
    assert rows.shape == (2, SIZES[family])
    assert np.abs(rows[0] - rows[1]).max() > 1e-5
    assert features.source.details[f"{backbone.modality}_weights"] == backbone.weights


@pytest.mark.parametrize("family", VISUAL)
def test_pictures_reach_the_model_as_its_card_says(folders: Any, family: str) -> None:
    backbone = load_backbone(family, Setup({family: str(folders[0][family])}))
    assert isinstance(backbone, VisualBackbone)
    squashed = dict.fromkeys(("siglip", "siglip2", "dinov3", "pe-av"), (32, 32))
    wanted = {"clip": 32, "dinov2": 37, "videomae": 32, "vjepa2": 37, **squashed}[family]
    assert backbone.frame_size == wanted
    frames = backbone.frames_per_snippet or 2
    batch = np.random.default_rng(0).integers(0, 256, (2, frames, 40, 46, 3), np.uint8)
    mean, deviation = (np.array(v) for v in FAMILIES[family].normalize)
    plain = (batch[:, :, 4:36, 7:39] / 255 - mean) / deviation
    inputs = torch.from_numpy(plain.transpose(0, 1, 4, 2, 3).astype(np.float32))
    model = folders[1][family]
    with torch.inference_mode():
        if family == "pe-av":
            expected = model.video_model.video_head(model.video_model.video_encoder(inputs).pooler_output)
        elif family in CLIPS:
            expected = model(inputs).last_hidden_state.mean(dim=1)
        else:
            answer = model(inputs.flatten(0, 1))
            rows = answer.image_embeds if family == "clip" else answer.pooler_output
            expected = rows.reshape(2, frames, -1).mean(dim=1)
    np.testing.assert_allclose(backbone(batch), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_a_folders_own_normalisation_counts(folders: Any, tmp_path: Path) -> None:
    tiny_hub_folder("clip", tmp_path)
    plain = load_backbone("clip", Setup({"clip": str(tmp_path)}))
    write_preprocessor(tmp_path, image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.5, 0.5])
    own = load_backbone("clip", Setup({"clip": str(tmp_path)}))
    batch = np.full((1, 1, 32, 32, 3), 128, np.uint8)
    assert np.abs(own(batch) - plain(batch)).max() > 1e-4
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(InputError, match="expected the JSON of a processor"):
        load_backbone("clip", Setup({"clip": str(tmp_path)}))


def test_missing_weights_are_not_invented(folders: Any, tmp_path: Path) -> None:
    """transformers initialises missing weights at random, with only a warning."""
    from safetensors.torch import load_file, save_file

    tiny_hub_folder("clip", tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    gone = next(key for key in state if key.endswith("fc1.weight"))
    save_file({k: v for k, v in state.items() if k != gone}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"1 weights of CLIPVisionModelWithProjection are missing, e\.g\. .*fc1"):
        load_backbone("clip", Setup({"clip": str(tmp_path)}))


WHOLE = {  # as the hub holds them: with text towers or classifiers, and other prefixes
    "clip": lambda hf, part: hf.CLIPModel(hf.CLIPConfig(vision_config=part, text_config=SMALL_TEXT, projection_dim=12)),
    "siglip": lambda hf, part: hf.SiglipModel(hf.SiglipConfig(vision_config=part, text_config=SMALL_TEXT)),
    "videomae": lambda hf, part: hf.VideoMAEForVideoClassification(hf.VideoMAEConfig(**part)),
    "ast": lambda hf, part: hf.ASTForAudioClassification(hf.ASTConfig(**part)),
    "clap": lambda hf, part: hf.ClapModel(hf.ClapConfig(audio_config=part, text_config=SMALL_TEXT, projection_dim=12)),
}


@pytest.mark.parametrize("family", list(WHOLE))
def test_a_whole_model_gives_the_features_of_its_part(folders: Any, family: str, tmp_path: Path) -> None:
    import transformers as hf

    small = folders[1][family]
    whole = WHOLE[family](hf, small.config.to_dict())
    keys = whole.state_dict().keys()
    prefixes = ["", *{key.split(".")[0] + "." for key in keys if not key.startswith("text")}]
    part = {
        next(p + key for p in prefixes if p + key in keys): value
        for key, value in small.state_dict().items()
        if not key.endswith(("position_ids", "mean", "std"))
    }
    assert not whole.load_state_dict(part, strict=False).unexpected_keys
    whole.save_pretrained(tmp_path)
    plain, own = (load_backbone(family, Setup({family: str(path)})) for path in (folders[0][family], tmp_path))
    if isinstance(plain, VisualBackbone):
        shape = (1, plain.frames_per_snippet or 1, 32, 32, 3)
        batch = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    else:
        batch = np.random.default_rng(0).normal(0, 0.1, (1, 3 * plain.rate_hz)).astype(np.float32)
    np.testing.assert_array_equal(own(batch), plain(batch))


def test_pe_av_needs_timm(folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("avloc.features.backbones.hub_load.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pe-av needs timm, torchvision, which are not installed"):
        load_backbone("pe-av", Setup({"pe-av": str(folders[0]["pe-av"])}))
    monkeypatch.setattr("avloc.features.backbones.catalogue.find_spec", lambda name: name == "transformers" or None)
    assert status(card("pe-av")) == "needs timm, torchvision: pip install timm torchvision"
    monkeypatch.setattr("avloc.features.backbones.catalogue.find_spec", lambda name: None)
    assert status(card("pe-av")).endswith("pip install 'avloc[hf]' timm torchvision")


def test_without_transformers(folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"clip needs transformers.*pip install 'avloc\[hf\]'"):
        load_backbone("clip", Setup({"clip": str(folders[0]["clip"])}))
