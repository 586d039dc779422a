"""Text towers of Hugging Face models: prompts in the space of the features that hub.py and hub_audio.py make.

    family           text embedding                                    similarity to a snippet
    clip             projected pooled output                           scale x cosine
    siglip, siglip2  pooled output, after the model's own head         scale x cosine
    clap             projected pooled output                           scale x cosine
    pe-av            text_video_head of the first token                scale x dot product
    pe-a-frame       text_audio_head of the first token                scale x dot product

The scale is the model's own (for the PE models as it is stored, for the others its exponential). Their stored
features are projected to that space already; a snippet's row is the mean over its frames or tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from avloc.errors import InputError
from avloc.features.backbones.families import FAMILIES
from avloc.features.backbones.hub_bounds import check_size, check_tokenizer
from avloc.features.backbones.hub_files import TOKENIZERS, HubFiles, locate
from avloc.features.backbones.hub_load import check_type, import_transformers, loading, quiet, read_weights
from avloc.features.backbones.protocol import Setup

LONGEST = 64
"""Tokens of a prompt: what SigLIP was trained with, and less than the others take."""


@dataclass(frozen=True)
class Tower:
    """Text tower of a family.

    Args:
        model: class in transformers; "" for the PE models, whose text model and head are put together here.
        scale: name of the weight that similarities are multiplied by.
        normalized: whether similarity is the cosine (and the scale stored as a logarithm), or the dot product.
        head: prefix of the head's weights, of the PE models.
        padding: as in training.
    """

    model: str
    scale: str
    normalized: bool = True
    head: str = ""
    padding: str | bool = True


TOWERS = {
    "clip": Tower("CLIPTextModelWithProjection", "logit_scale"),
    "siglip": Tower("SiglipTextModel", "logit_scale", padding="max_length"),
    "siglip2": Tower("SiglipTextModel", "logit_scale", padding="max_length"),
    "clap": Tower("ClapTextModelWithProjection", "logit_scale_a"),
    "pe-av": Tower("", "text_video_logit_scale", normalized=False, head="text_video_head"),
    "pe-a-frame": Tower("", "text_audio_logit_scale", normalized=False, head="text_audio_head"),
}
"""{family: its text tower}."""

_PROJECTIONS = ("text_projection.weight", "text_projection.linear2.weight")


def has_text(name: str) -> bool:
    """Whether a backbone has a text tower."""
    return name.partition(":")[0] in TOWERS


class TextTower:
    """Similarities of snippets and texts by one model.

    Args:
        name: a backbone, `family` or `family:owner/repository`.

    Raises:
        InputError: no text tower, a module is missing, or the weights or the tokenizer are missing or unsuitable.
    """

    def __init__(self, name: str, setup: Setup | None = None) -> None:
        setup = setup or Setup()
        stem, _, repository = name.partition(":")
        if stem not in TOWERS:
            raise InputError(f"{name} has no text tower; those that have one: {', '.join(TOWERS)}")
        family, self._tower = FAMILIES[stem], TOWERS[stem]
        transformers = import_transformers(name, family)
        given = setup.weights.get(name, setup.weights.get(stem, setup.weights.get("*")))
        files = locate(name, repository or family.repository, given)
        check_type(name, family, files.folder)
        state = {key: value for path in files.weights for key, value in read_weights(path).items()}
        state = {re.sub(r"^video_model\.", "", key): value for key, value in state.items()}
        self.name = name
        self.scale = _scale(state, self._tower, files)
        with quiet(transformers):
            self._tokenizer = _tokenizer(transformers, files)
            self._model = _model(transformers, self._tower, files, state)

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """One row per text; of unit length where similarity is the cosine."""
        try:
            tokens = self._tokenizer(
                list(texts), padding=self._tower.padding, truncation=True, max_length=LONGEST, return_tensors="pt"
            )
        except BaseException as error:  # a panic in Rust is no Exception
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise InputError(f"the tokenizer of {self.name} fails on these texts: {error}") from error
        known = {key: tokens[key] for key in ("input_ids", "attention_mask") if key in tokens}
        if self._tower.padding == "max_length":
            known.pop("attention_mask", None)  # SigLIP attends to its padding
        rows: Tensor = self._model(**known)
        return self._unit(rows.double().numpy())

    def similarities(
        self, rows: Float[np.ndarray, "l d_x"], texts: Float[np.ndarray, "n d"], temperature: float | None = None
    ) -> Float[np.ndarray, "l n"]:
        """Logits of snippets and texts: similarity x the model's scale, or / `temperature`.

        Raises:
            InputError: features and texts differ in size.
        """
        if rows.shape[1] != texts.shape[1]:
            raise InputError(
                f"the features have {rows.shape[1]} channels, the text tower of {self.name} gives {texts.shape[1]}; "
                "extract the features with the same weights"
            )
        return self._unit(np.asarray(rows, np.float64)) @ texts.T * (1 / temperature if temperature else self.scale)

    def _unit(self, rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        if not self._tower.normalized:
            return rows
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


class _Pooled(nn.Module):
    """A text model reduced to one tensor per text."""

    def __init__(self, model: nn.Module, read: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model, self._read = model, read

    def forward(self, **tokens: Tensor) -> Float[Tensor, "n d"]:
        return self._read(self.model(**tokens))


def _model(transformers: Any, tower: Tower, files: HubFiles, state: dict[str, Tensor]) -> nn.Module:
    with loading(f"{files.folder}: expected a model with a text tower, which cannot be loaded"):
        if not tower.model:
            return _pe_text(transformers, tower, files, state)
        maker = getattr(transformers, tower.model)
        config = maker.config_class.from_pretrained(files.folder, local_files_only=True)
        used = {key: value for key, value in state.items() if key.startswith("text_")}
        sizes = [used[key].shape[0] for key in _PROJECTIONS if key in used]
        if sizes:  # a whole model's file states the size once, outside the text tower's part
            config.projection_dim = sizes[0]
        check_size(files.folder, lambda: maker(config), state)
        model, report = maker.from_pretrained(
            None, config=config, state_dict=used, dtype=torch.float32, output_loading_info=True
        )
        missing = [key for key in report["missing_keys"] if not key.endswith("position_ids")]
    if missing:
        raise InputError(
            f"{files.folder}: expected a model with a text tower; {len(missing)} of its weights are missing"
        )
    field = "text_embeds" if tower.model.endswith("WithProjection") else "pooler_output"
    return _Pooled(model.eval().requires_grad_(False), lambda output: getattr(output, field))


def _pe_text(transformers: Any, tower: Tower, files: HubFiles, state: dict[str, Tensor]) -> nn.Module:
    """The text model of a PE model and its head for one modality: layer norm and projection."""
    whole = transformers.AutoConfig.from_pretrained(files.folder, local_files_only=True)
    check_size(files.folder, lambda: transformers.AutoModel.from_config(whole.text_config), state)
    text = transformers.AutoModel.from_config(whole.text_config)
    width = whole.text_config.hidden_size
    head = nn.ModuleDict({"layer_norm": nn.LayerNorm(width, eps=1e-6), "proj": nn.Linear(width, width, bias=False)})
    for module, prefix in ((text, "text_model."), (head, f"{tower.head}.")):
        part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        module.load_state_dict(part)
    text.eval().requires_grad_(False)

    def read(output: Any) -> Tensor:
        return head["proj"](head["layer_norm"](output.last_hidden_state[:, 0]))

    return _Pooled(text, read)


def _scale(state: dict[str, Tensor], tower: Tower, files: HubFiles) -> float:
    if tower.scale not in state:
        raise InputError(f"{files.folder}: expected a model with a text tower; the weight {tower.scale} is missing")
    value = state[tower.scale].double()
    return float(value.exp() if tower.normalized else value)


def _tokenizer(transformers: Any, files: HubFiles) -> Any:
    if not any((files.folder / name).is_file() for name in TOKENIZERS):
        raise InputError(
            f"{files.folder}: expected the model's tokenizer beside its weights ({' or '.join(TOKENIZERS)}); run "
            "`hf download OWNER/REPOSITORY --local-dir FOLDER` and give the folder with --weights"
        )
    check_tokenizer(files.folder)
    with loading(f"{files.folder}: expected the model's tokenizer, which cannot be loaded"):
        return transformers.AutoTokenizer.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False)
