"""Load Hugging Face models through `transformers`, from files that are read as data only.

The weight files are read here (safetensors, or pickled tensors without code) and passed to transformers, so that the
hashed files are those that were loaded. Left to itself, transformers also looks for adapters, other weight files and
conversions on the hub. It initialises missing weights at random; here they are an error.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from avloc.errors import InputError
from avloc.features.backbones.families import Family
from avloc.features.backbones.hub_bounds import check_config, check_size
from avloc.features.backbones.hub_files import CONFIG, HubFiles, locate, read_json
from avloc.features.backbones.protocol import Setup
from avloc.features.weights import read_state


def load_model(name: str, family: Family, setup: Setup) -> tuple[Any, HubFiles]:
    """The model `name` in float32 and the files that it comes from.

    Raises:
        InputError: a module is missing; the files are missing, damaged, hold code, or are those of another model.
    """
    transformers = import_transformers(name, family)
    stem, _, repository = name.partition(":")
    given = setup.weights.get(name, setup.weights.get(stem, setup.weights.get("*")))
    files = locate(name, repository or family.repository, given)
    check_type(name, family, files.folder)
    state = {key: value for path in files.weights for key, value in read_weights(path).items()}
    maker = getattr(transformers, family.model)
    expected = f"{files.folder}: expected a {family.model} of transformers, which cannot load it"
    with loading(expected), quiet(transformers):
        config, used = _used(transformers, family, files.folder, state)
        check_size(files.folder, lambda: maker(config), state)
        model, report = maker.from_pretrained(
            None, config=config, state_dict=used, dtype=torch.float32, output_loading_info=True
        )
    missing = sorted(
        key for key in report["missing_keys"] if key.startswith(family.part) and not key.endswith("position_ids")
    )
    if missing:
        raise InputError(
            f"{files.folder}: {len(missing)} weights of {family.model} are missing, e.g. {', '.join(missing[:3])}"
        )
    return model, files


def _used(
    transformers: ModuleType, family: Family, folder: Path, state: dict[str, Tensor]
) -> tuple[Any, dict[str, Tensor]]:
    """Configuration and weights of the part of the model that makes features."""
    if family.output == "video_embeds":  # the whole audio-video model does not load with timm 1.0.31
        config = transformers.PeAudioVideoConfig.from_pretrained(folder, local_files_only=True).video_config
        prefixes = r"^(audio_video_encoder\.embedder|video_model)\."  # either name of the tied weights
        state = {re.sub(prefixes, "", key): value for key, value in state.items()}
    else:
        config = getattr(transformers, family.model).config_class.from_pretrained(folder, local_files_only=True)
    if family.part != ("",):
        config.text_config.num_hidden_layers = 1  # little memory for a text tower that is not used
        state = {key: value for key, value in state.items() if key.startswith(family.part)}
    return config, state


def import_transformers(name: str, family: Family) -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            f"{name} needs transformers, which is not installed or does not load ({error}); install it with "
            "`pip install 'avloc[hf]'`"
        ) from error
    if any(find_spec(module) is None for module in family.needs):
        modules = ", ".join(family.needs)
        raise InputError(f"{name} needs {modules}, which are not installed: pip install {' '.join(family.needs)}")
    if not hasattr(transformers, family.model):
        raise InputError(f"{name} needs a newer transformers than {transformers.__version__}: it has no {family.model}")
    return transformers


@contextlib.contextmanager
def quiet(transformers: ModuleType) -> Iterator[None]:
    """Without reports on unused weights, progress bars, and what some model files print (PE, in transformers 5.23)."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def loading(expected: str) -> Iterator[None]:
    """Context manager: transformers raises errors of all kinds for unsuitable files, which become `expected: reason`.

    Raises:
        InputError: for any error.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{expected}: {reason}") from error


def check_type(name: str, family: Family, folder: Path) -> None:
    """The configuration is of the family, which transformers only warns about, and within bounds."""
    config = read_json(folder / CONFIG, "the JSON of a model's configuration")
    found = config.get("model_type")
    if found not in family.types:
        raise InputError(
            f"{folder}: expected a model for {name} (model_type {' or '.join(family.types)} in {CONFIG}), got {found}"
        )
    check_config(folder / CONFIG, config)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of one file; the reason for a refusal without torch's advice to execute the file."""
    try:
        return read_state(path)
    except InputError as error:
        if not isinstance(error.__cause__, UnpicklingError):
            raise
        code = re.search(r"GLOBAL (\S+)", str(error.__cause__))
        reason = f"it would run code ({code[1]}); refused" if code else "it is damaged, or not a weight file"
        raise InputError(f"{path}: expected tensors only, but {reason}") from error


def processor(folder: Path, kind: str) -> dict[str, Any]:
    """Settings of the model's own processor, {} if the folder has none.

    Args:
        kind: "image_processor", "video_processor" or "feature_extractor": the key in processor_config.json.
    """
    names = {"video_processor": "video_preprocessor_config.json"}.get(kind, "preprocessor_config.json")
    for path in (folder / names, folder / "preprocessor_config.json"):
        if path.is_file():
            return _settings(path, read_json(path, "the JSON of a processor"))
    path = folder / "processor_config.json"
    return _settings(path, read_json(path, "the JSON of a processor").get(kind) or {}) if path.is_file() else {}


def _settings(path: Path, found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected the settings of a processor, got a {type(found).__name__}")
    check_config(path, found)
    return found
