"""Weights for tests: deterministic ones for golden values, random files with the published names and shapes, and tiny
models of the Hugging Face families."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn


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


def write_preprocessor(folder: Path, **settings: Any) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
