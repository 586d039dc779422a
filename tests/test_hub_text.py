"""Text towers of hub models: the same similarities as the models themselves. Tiny random weights: plumbing only."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avloc.errors import InputError
from avloc.features.backbones import Setup
from avloc.features.backbones.hub_text import TOWERS, TextTower, has_text
from odd_weights import SMALL_TEXT, tiny_frame_encoder, tiny_hub_folder, tiny_tokenizer

os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub at import
transformers = pytest.importorskip("transformers")
TEXTS = ["dog barking", "glass breaking", "a"]


def whole(family: str, folder: Path) -> Any:
    """A whole model, as the hub holds it, and its tokenizer."""
    hf, vision = transformers, {**SMALL_TEXT, "image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    if family.startswith("pe"):
        model = tiny_hub_folder(family, folder)
        for name, weight in model.named_parameters():
            if "scale" in name:
                weight.data.fill_(7.5)
        model.save_pretrained(folder)
    else:
        makers = {
            "clip": lambda: hf.CLIPModel(
                hf.CLIPConfig(vision_config=vision, text_config=SMALL_TEXT, projection_dim=12)
            ),
            "siglip": lambda: hf.SiglipModel(hf.SiglipConfig(vision_config=vision, text_config=SMALL_TEXT)),
            "clap": lambda: hf.ClapModel(
                hf.ClapConfig(audio_config=_htsat(), text_config=SMALL_TEXT, projection_dim=12)
            ),
        }
        model = makers[family.removesuffix("2")]().eval()
        model.save_pretrained(folder)
    tiny_tokenizer(folder, TEXTS)
    return model.eval()


def _htsat() -> dict[str, Any]:
    sizes = {"hidden_size": 32, "patch_embeds_hidden_size": 16, "num_hidden_layers": 2, "num_classes": 3}
    return {**sizes, "depths": [1, 1], "num_attention_heads": [2, 2]}


def own_logits(family: str, model: Any, rows: torch.Tensor, tokens: Any) -> torch.Tensor:
    """Logits of snippets and texts, as the model's `forward` computes them, up to its bias."""
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    if family.startswith("pe"):  # as `forward` does: transformers 5.23's own get_text_audio_embeds fails
        embeds = model.text_model(ids, mask, output_hidden_states=True).hidden_states[-1][:, 0]
    if family == "pe-a-frame":
        return rows @ model.text_audio_head(embeds).T * model.text_audio_logit_scale
    if family == "pe-av":
        return rows @ model.video_model.text_video_head(embeds).T * model.video_model.text_video_logit_scale
    texts = model.get_text_features(ids, **({} if "siglip" in family else {"attention_mask": mask})).pooler_output
    scale = model.logit_scale_a if family == "clap" else model.logit_scale
    unit = torch.nn.functional.normalize
    return unit(rows, dim=1) @ unit(texts, dim=1).T * scale.exp()


@pytest.mark.parametrize("family", list(TOWERS))
def test_similarities_are_those_of_the_model(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_frame_encoder(monkeypatch)
    model = whole(family, tmp_path)
    tower = TextTower(family, Setup({family: str(tmp_path)}))
    texts = tower.embed(TEXTS)
    rows = torch.randn(5, texts.shape[1], generator=torch.Generator().manual_seed(1))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    padding = "max_length" if family.startswith("siglip") else True
    tokens = tokenizer(TEXTS, padding=padding, truncation=True, max_length=64, return_tensors="pt")
    with torch.inference_mode():
        expected = own_logits(family, model, rows, tokens)
    found = tower.similarities(rows.numpy(), texts)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(tower.similarities(rows.numpy(), texts, 0.5), found / tower.scale * 2)
    assert np.ptp(found, axis=1).min() > 1e-4  # the texts differ


def test_every_family_with_a_text_tower_is_known() -> None:
    assert has_text("clip:owner/model")
    assert not has_text("dinov2")
    with pytest.raises(InputError, match="dinov2 has no text tower; those that have one: clip"):
        TextTower("dinov2")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    vision, both = tmp_path / "vision", tmp_path / "both"
    tiny_hub_folder("clip", vision)
    with pytest.raises(InputError, match=r"vision: expected a model with a text tower; the weight logit_scale"):
        TextTower("clip", Setup({"clip": str(vision)}))
    whole("clip", both)
    tower = TextTower("clip", Setup({"clip": str(both)}))
    texts = tower.embed(["a"])
    with pytest.raises(InputError, match="the features have 7 channels, the text tower of clip gives 12"):
        tower.similarities(np.ones((3, 7)), texts)
    (both / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="expected the model's tokenizer beside its weights"):
        TextTower("clip", Setup({"clip": str(both)}))
    shutil.rmtree(both)
    with pytest.raises(InputError, match=r"openai/clip-vit-base-patch32 are not on this machine, and \w+ is set"):
        TextTower("clip")
