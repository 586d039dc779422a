"""Weights for tests: deterministic ones for golden values, random files with the published names and shapes, and tiny
models of the Hugging Face families."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from avloc.features.weights import digest


def det_weights(keys: Iterable[tuple[str, tuple[int, ...]]], seed: int) -> dict[str, torch.Tensor]:
    """Deterministic weights, as specified in golden/README.md."""
    state = {}
    for i, (key, shape) in enumerate(keys):
        state[key] = torch.from_numpy(
            np.asarray(_values(key, tuple(shape), np.random.RandomState(seed + i)), np.float32)
        )
    return state


def _values(key: str, shape: tuple[int, ...], random: np.random.RandomState) -> Any:
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape)
    if key.endswith("running_mean"):
        return 0.1 * random.standard_normal(shape)
    if key.endswith("running_var"):
        return 0.5 + random.random_sample(shape)
    if len(shape) >= 2:
        return random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    return 1 + 0.1 * random.standard_normal(shape) if key.endswith("weight") else 0.05 * random.standard_normal(shape)


def shapes(module: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(key, tuple(value.shape)) for key, value in module.state_dict().items()]


def quick_state(module: nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights with the right names and shapes, generated fast, scaled so that activations stay in range."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes(module):
        if key.endswith("num_batches_tracked"):
            continue  # as in files of PyTorch 0.3
        values = torch.empty(shape).uniform_(-1, 1, generator=generator)
        if len(shape) > 1:
            state[key] = values * (6 / float(np.prod(shape[1:]))) ** 0.5
        else:  # scales near 1: values that shrink from layer to layer become denormal, which is slow
            state[key] = values * 0.1 + float(key.endswith((".weight", "running_var")))
    return state


def tiny_hub_folder(family: str, folder: Path) -> Any:
    """Save a small random model of a family in the hub's format; returns the model."""
    import transformers as hf

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vision = {**small, "image_size": 32, "patch_size": 16}
    text = {**small, "vocab_size": 20, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "hidden_size": 12}
    pe = {**small, "head_dim": 8}
    dac = {"encoder_hidden_size": 2, "downsampling_ratios": [2, 8, 10, 12], "hidden_size": 8, "codebook_dim": 4}
    pe_audio = {**pe, "dac_config": {**dac, "num_codebooks": 1}}
    makers = {
        "clip": lambda: hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**vision, projection_dim=12)),
        "siglip": lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**vision)),
        "siglip2": lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**vision)),
        "dinov3": lambda: hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**vision, num_register_tokens=2)),
        "dinov2": lambda: hf.Dinov2Model(
            hf.Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16)
        ),
        "videomae": lambda: hf.VideoMAEModel(hf.VideoMAEConfig(**vision, num_frames=4)),
        "vjepa2": lambda: hf.VJEPA2Model(
            hf.VJEPA2Config(
                hidden_size=24,
                num_hidden_layers=1,
                num_attention_heads=2,
                mlp_ratio=2,
                crop_size=32,
                patch_size=16,
                frames_per_clip=4,
                pred_hidden_size=24,
                pred_num_attention_heads=2,
                pred_num_hidden_layers=1,
            )
        ),
        "ast": lambda: hf.ASTModel(hf.ASTConfig(**small, max_length=512, num_mel_bins=32)),
        "clap": lambda: hf.ClapAudioModelWithProjection(
            hf.ClapAudioConfig(
                hidden_size=32,
                patch_embeds_hidden_size=16,
                projection_dim=12,
                num_hidden_layers=2,
                depths=[1, 1],
                num_attention_heads=[2, 2],
                num_classes=3,
            )
        ),
        "pe-a-frame": lambda: hf.PeAudioFrameLevelModel(hf.PeAudioConfig(text_config=text, audio_config=pe_audio)),
        "pe-av": lambda: hf.PeAudioVideoModel(
            hf.PeAudioVideoConfig(
                text_config=text,
                audio_video_config={
                    **pe,
                    "audio_config": pe_audio,
                    "video_config": {**pe, "vision_config": hf.ViTConfig(**vision, num_labels=8)},
                },
            )
        ),
    }
    model = makers[family]().eval()
    model.save_pretrained(folder)
    return model


SMALL_TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""Configuration of a tiny text tower."""


def tiny_tokenizer(folder: Path, texts: Iterable[str]) -> None:
    """Save a tokenizer that knows the words of some texts."""
    import transformers as hf
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {word: k for k, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    made = hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    made.save_pretrained(folder)


def tiny_frame_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let saved PE models have a ViT of transformers as their frame encoder: the real one comes from timm."""
    import transformers as hf
    from transformers.configuration_utils import SubConfigSpec

    monkeypatch.setattr("avloc.features.backbones.hub_load.find_spec", lambda name: True)
    spec = SubConfigSpec(hf.ViTConfig)
    monkeypatch.setitem(hf.PeVideoEncoderConfig.sub_configs_defaults, "vision_config", spec)


def hub_cache(
    cache: Path, repository: str, folder: Path, commit: str = "0123456789abcdef0123456789abcdef01234567"
) -> Path:
    """Put a model's folder into a hub cache, laid out as huggingface_hub does; returns the repository's folder."""
    root = cache / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / commit
    for path in (root / "refs", root / "blobs", snapshot):
        path.mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    for path in folder.iterdir():
        blob = root / "blobs" / digest(path, "git" if path.suffix == ".json" else "sha256")
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    return root


def as_bin(folder: Path) -> Path:
    """Replace a folder's model.safetensors by pytorch_model.bin, with a buffer as older versions saved."""
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state | {"vision_model.embeddings.position_ids": torch.arange(5)[None]}, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


def write_preprocessor(folder: Path, **settings: Any) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
