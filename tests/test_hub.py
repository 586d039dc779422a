"""Hugging Face families: tiny random models in local folders, with our crop and normalisation, without torchvision."""

from __future__ import annotations

import os
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
from odd_weights import tiny_hub_folder, write_preprocessor

os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub at import
pytest.importorskip("transformers")
SIZES = {"clip": 12, "siglip": 16, "dinov2": 16, "videomae": 16, "vjepa2": 24, "ast": 16, "clap": 12}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], dict[str, Any]]:
    root = tmp_path_factory.mktemp("hub")
    models = {family: tiny_hub_folder(family, root / family) for family in FAMILIES}
    write_preprocessor(
        root / "ast", feature_extractor_type="ASTFeatureExtractor", max_length=128, num_mel_bins=32, sampling_rate=16000
    )
    return {family: root / family for family in FAMILIES}, models


def test_all_families_are_tried() -> None:
    assert set(SIZES) == set(FAMILIES)


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


@pytest.mark.parametrize("family", ["clip", "siglip", "dinov2", "videomae", "vjepa2"])
def test_pictures_reach_the_model_as_its_card_says(folders: Any, family: str) -> None:
    backbone = load_backbone(family, Setup({family: str(folders[0][family])}))
    assert isinstance(backbone, VisualBackbone)
    wanted = {"clip": 32, "siglip": (32, 32), "dinov2": 37, "videomae": 32, "vjepa2": 37}[family]
    assert backbone.frame_size == wanted
    frames = backbone.frames_per_snippet or 2
    batch = np.random.default_rng(0).integers(0, 256, (2, frames, 40, 46, 3), np.uint8)
    mean, deviation = (np.array(v) for v in FAMILIES[family].normalize)
    plain = (batch[:, :, 4:36, 7:39] / 255 - mean) / deviation
    inputs = torch.from_numpy(plain.transpose(0, 1, 4, 2, 3).astype(np.float32))
    model = folders[1][family]
    with torch.inference_mode():
        if family in ("videomae", "vjepa2"):
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


def test_offline_and_wrong_folders_say_what_to_do(tmp_path: Path) -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(
        InputError, match=r"hf download openai/clip-vit-base-patch32 --local-dir.*--weights clip=FOLDER"
    ):
        load_backbone("clip")
    with pytest.raises(InputError, match=r"hf download some/where --local-dir"):
        load_backbone("dinov2:some/where")
    with pytest.raises(InputError, match=r"expected a folder with config\.json"):
        load_backbone("clip", Setup({"clip": str(tmp_path)}))
    assert card("clip:some/where").hub == "some/where"
    assert status(card("clip")).startswith("not available")
    with pytest.raises(InputError, match="no backbone 'klip:some/where'"):
        card("klip:some/where")
