"""A trained network as a graph for other programs: torch.export's .pt2 or ONNX, with dynamic batch and length.

    inputs    audio    (batch, length, d_u) float32, raw features    only of a model that uses audio
              visual   (batch, length, d_v) float32, raw features    only of a model that uses video
              mask     (batch, length) bool: True for snippets, False for padding
              present  (batch, 2) bool: has audio, has video         only of a model that uses both
    outputs   probs         (batch, length, 1 + C) float32: p of Eq. 5, column 0 is background; rows sum to 1
              video_scores  (batch, C) float32: mean of each class's top snippets (App. D)

The scaling of the features (`model.network.InputNorm`) is part of the graph. Each video has at least one snippet and
one modality; values under padding and of a missing modality are finite and change nothing; rows of `probs` under
padding mean nothing. `describe` is stored in the file: pt2's extra file avloc.json, ONNX's metadata property "avloc".
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avloc.errors import ConfigError, InputError, did_you_mean
from avloc.model.base import Model
from avloc.model.batch import Batch
from avloc.model.checkpoint import ModelCard
from avloc.model.losses import topk_mean
from avloc.model.tian import TianLocalizer
from avloc.system.atomic import atomic_path, make_folder
from avloc.system.text import json_text
from avloc.version import __version__

FORMATS = ("pt2", "onnx")
TOLERANCE = 1e-5
"""Largest difference from the model at which a file is kept."""

_Runner = Callable[[tuple[Tensor, ...]], list[Tensor]]


class _Graph(nn.Module):
    """The model with tensors as inputs and outputs."""

    def __init__(self, model: Model, card: ModelCard) -> None:
        super().__init__()
        self.model, self.classes, self.divisor = model, len(card.classes), card.config.loss.topk_divisor

    def run(
        self,
        audio: Float[Tensor, "b l d_u"],
        visual: Float[Tensor, "b l d_v"],
        mask: Bool[Tensor, "b l"],
        present: Bool[Tensor, "b 2"],
    ) -> tuple[Float[Tensor, "b l c1"], Float[Tensor, "b c"]]:
        labels = audio.new_zeros(audio.shape[0], self.classes)
        probs = self.model(Batch(audio, visual, mask, present, labels)).probs
        return probs.float(), topk_mean(probs, mask, self.divisor)[:, 1:].float()

    def alone(self, rows: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """`run` for a model of one modality, which does not read the other."""
        return self.run(rows, rows, mask, mask.new_ones(rows.shape[0], 2))


class _Both(_Graph):
    def forward(self, audio: Tensor, visual: Tensor, mask: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        return self.run(audio, visual, mask, present)


class _Audio(_Graph):
    def forward(self, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.alone(audio, mask)


class _Visual(_Graph):
    def forward(self, visual: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.alone(visual, mask)


def export_format(path: Path, to: str | None = None) -> str:
    """The format to write: `to`, else that of the suffix.

    Raises:
        ConfigError: an unknown format, or one that contradicts the suffix.
    """
    suffix = path.suffix.lower().removeprefix(".")
    known = " or ".join(FORMATS)
    if to is not None and to not in FORMATS:
        raise ConfigError(f"--to takes {known}, got {to!r}.{did_you_mean(to, FORMATS)}")
    if suffix not in FORMATS:
        raise ConfigError(f"{path}: expected a file name that ends in .{(to or known).replace(' or ', ' or .')}")
    if to not in (None, suffix):
        raise ConfigError(f"{path}: --to {to} writes a file that ends in .{to}; change one of them")
    return suffix


def export_model(model: Model, card: ModelCard, path: Path, to: str | None = None) -> float:
    """Write the graph, read it back and compare it with the model; inputs and outputs as at the top of this file.

    Args:
        to: "pt2" or "onnx"; None: by the suffix of `path`.

    Returns:
        The largest difference in any output, over videos of several lengths, padded and with a missing modality.

    Raises:
        ConfigError: as `export_format`. InputError: the method cannot be exported, a module is missing, the file cannot
        be written, or the graph differs from the model by more than TOLERANCE.
    """
    wanted = export_format(path, to)
    if isinstance(model, TianLocalizer):
        raise InputError("model.method=tian cannot be exported: its LSTMs read packed sequences; avloc and w-talc can")
    if wanted == "onnx":
        _require("onnx", "onnxscript", "onnxruntime")
    graph = _graph(model, card)
    make_folder(path.absolute().parent, "the exported model")
    with atomic_path(path) as part, torch.no_grad(), _quiet():
        run = (_write_pt2 if wanted == "pt2" else _write_onnx)(graph, card, part)
        worst = max(_difference(graph, run, card, *size) for size in ((1, 1), (3, 1), (1, 7), (4, 9)))
        if not worst <= TOLERANCE:
            raise InputError(f"{path}: the exported graph differs from the model by {worst:g}; please report it")
    return worst


def describe(graph: _Graph, card: ModelCard) -> dict[str, Any]:
    """What a program must know besides the graph, as plain values for JSON."""
    return {
        "avloc": __version__,
        "inputs": list(_inputs(graph, card, 1, 1)),
        "outputs": ["probs", "video_scores"],
        "classes": list(card.classes),
        "sizes": {name: size for name, size in _sizes(card).items() if name in graph.model.embeds},
        "backbones": dict(card.backbones),
        "versions": dict(card.versions),
        "step_s": float(card.config.extract.step),
        "localize": card.config.localize.model_dump(),
    }


def _graph(model: Model, card: ModelCard) -> _Graph:
    kinds: dict[tuple[str, ...], type[_Graph]] = {("audio",): _Audio, ("visual",): _Visual}
    kind = kinds.get(tuple(model.embeds), _Both)
    return kind(deepcopy(model).cpu(), card).eval()


def _sizes(card: ModelCard) -> dict[str, int]:
    return {"audio": card.audio_size, "visual": card.visual_size}


def _inputs(graph: _Graph, card: ModelCard, batch: int, length: int) -> dict[str, Tensor]:
    """Random inputs, the second video padded, the last two without audio and without video, by name and in order."""
    noise = torch.Generator().manual_seed(0)
    inputs = {
        name: torch.randn(batch, length, size, generator=noise)
        for name, size in _sizes(card).items()
        if name in graph.model.embeds
    }
    inputs["mask"] = torch.ones(batch, length, dtype=torch.bool)
    inputs["mask"][1:2, (length + 1) // 2 :] = False
    if isinstance(graph, _Both):
        inputs["present"] = torch.ones(batch, 2, dtype=torch.bool)
        inputs["present"][2:3, 0] = inputs["present"][3:4, 1] = False
    return inputs


def _difference(graph: _Graph, run: _Runner, card: ModelCard, batch: int, length: int) -> float:
    """Largest absolute difference in the outputs, without padding."""
    inputs = _inputs(graph, card, batch, length)
    (probs, scores), mask = graph(**inputs), inputs["mask"]
    other_probs, other_scores = run(tuple(inputs.values()))
    return float(torch.cat([(probs - other_probs)[mask].flatten(), (scores - other_scores).flatten()]).abs().max())


def _dynamic(inputs: dict[str, Tensor]) -> dict[str, dict[int, Any]]:
    batch, length = torch.export.Dim("batch", min=1), torch.export.Dim("length", min=1)
    return {name: {0: batch} if name == "present" else {0: batch, 1: length} for name in inputs}


def _write_pt2(graph: _Graph, card: ModelCard, path: Path) -> _Runner:
    inputs = _inputs(graph, card, 2, 5)
    program = torch.export.export(graph, (), inputs, dynamic_shapes=_dynamic(inputs))
    content = io.BytesIO()  # torch ends the process if it cannot write to a file
    torch.export.save(program, content, extra_files={"avloc.json": json_text(describe(graph, card))})
    path.write_bytes(content.getbuffer())
    with path.open("rb") as file:
        again = torch.export.load(file).module()
    return lambda tensors: list(again(**dict(zip(inputs, tensors, strict=True))))


def _write_onnx(graph: _Graph, card: ModelCard, path: Path) -> _Runner:
    import onnxruntime

    inputs = _inputs(graph, card, 2, 5)
    program = torch.onnx.export(
        graph,
        (),
        kwargs=inputs,
        dynamic_shapes=_dynamic(inputs),
        input_names=list(inputs),
        output_names=["probs", "video_scores"],
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props["avloc"] = json_text(describe(graph, card))
    program.save(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(tensors: tuple[Tensor, ...]) -> list[Tensor]:
        arrays = {name: tensor.numpy() for name, tensor in zip(inputs, tensors, strict=True)}
        return [torch.from_numpy(output) for output in session.run(None, arrays)]

    return run


def _require(*modules: str) -> None:
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise InputError(f"ONNX export needs {', '.join(missing)}: pip install 'avloc[onnx]'")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings, which concern its own code."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
