"""A published model: a folder with weights, configuration and a model card, as the Hugging Face hub lays it out.

MODEL/model.safetensors   the run's model file, which alone is needed to load it; without paths of the machine
MODEL/config.json         the same configuration, readable; a file that contradicts the weights is an error
MODEL/README.md           model card with the hub's front matter (https://huggingface.co/docs/hub/model-cards)

Nothing in such a folder is executed or unpickled.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from avloc.config import RunConfig
from avloc.config.arguments import checked
from avloc.errors import AvlocError, FormatError, InputError
from avloc.formats.json_file import read_json
from avloc.model.base import Model
from avloc.model.checkpoint import ModelCard, load_model, save_model
from avloc.model.files import MODEL_FILE, RECORD_FILE
from avloc.pipeline.card_text import card_text
from avloc.system.atomic import atomic_write, make_folder
from avloc.system.outputs import has_header
from avloc.system.text import json_text
from avloc.types import Short
from avloc.version import __version__

if TYPE_CHECKING:
    from avloc.pipeline.localizer import Localizer

CONFIG = "config.json"
README = "README.md"
_SAME = ("classes", "audio_size", "visual_size", "backbones", "versions", "step", "backbone_normalize")
_FACTS = ("train_videos", "validation_videos")


@dataclass(frozen=True, repr=False)
class About(Short):
    """What a model card says that the model does not know.

    Args:
        title: heading; None: made from the classes.
        licence: of the weights, as the hub spells it (https://huggingface.co/docs/hub/repositories-licenses).
        scores: result of `avloc evaluate -o`, or {} if the model was not evaluated.
        notes: further sentences, such as on the origin of the videos.
        name: of the model on the hub, as "owner/name".
    """

    title: str | None = None
    licence: str = "unknown"
    scores: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""
    name: str = "OWNER/NAME"

    @classmethod
    def read(cls, title: str | None, licence: str | None, scores: Path | None, notes: str = "") -> About:
        """With the scores of a file. Raises FormatError if it is not one of `avloc evaluate -o`."""
        found = read_json(scores) if scores is not None else {}
        if scores is not None and not isinstance(found.get("average_map"), int | float):
            raise FormatError(f"{scores}: expected the numbers that `avloc evaluate -o` writes (average_map, ...)")
        return cls(title, licence or cls.licence, found, notes)


About.__init__ = checked()(About.__init__)  # type: ignore[method-assign]


def save_published(localizer: Localizer, folder: Path, about: About, overwrite: bool = False) -> list[str]:
    """Write the three files. The localizer's present `localize.*` settings become those of the model.

    Args:
        overwrite: also replace a model card that differs; otherwise it is kept, since a person may have edited it.

    Returns:
        Notes on what is not published, and on a model card that was kept.

    Raises:
        InputError: the folder is not writable, is the run itself, or holds a model that is not avloc's.
    """
    if (folder / RECORD_FILE).exists():
        raise InputError(f"{folder}: is a run folder, not a place to publish to; choose another folder")
    ours = {MODEL_FILE: has_header(folder / MODEL_FILE), CONFIG: _is_published(folder / CONFIG)}
    foreign = [name for name, own in ours.items() if not own and os.path.lexists(folder / name)]
    if foreign:
        raise InputError(
            f"{folder}: there is a {foreign[0]} that avloc did not write, and it is not replaced; move it away, or "
            "choose another folder"
        )
    card, notes = without_paths(replace(localizer.card, config=_localized(localizer)))
    facts = read_facts(localizer.home)
    text = card_text(card, about, facts)
    make_folder(folder, "the model")
    save_model(folder / MODEL_FILE, card, localizer.model.state_dict())
    atomic_write(folder / CONFIG, json_text(_config(card, facts), indent=1, ensure_ascii=False) + "\n")
    readme = folder / README
    if readme.exists() and not overwrite and readme.read_text(encoding="utf-8", errors="replace") != text:
        notes.append(f"{readme} is kept as it was; --overwrite writes it anew")
    else:
        atomic_write(readme, text)
    return notes


def _is_published(config: Path) -> bool:
    """Whether a config.json is one that `save_published` wrote."""
    try:
        return read_json(config).get("library_name") == "avloc"
    except AvlocError:
        return False


def load_published(path: Path, checksum: bool = True) -> tuple[Model, ModelCard]:
    """Model and card, as `model.checkpoint.load_model`; a config.json beside the weights must agree with them.

    Args:
        path: a run folder, a published folder, or its model.safetensors.
        checksum: as in `load_model`.

    Raises:
        InputError: there is no model. FormatError: it is damaged, or config.json contradicts it.
    """
    model, card = load_model(path, checksum)
    config = (path.parent if path.suffix == ".safetensors" else path) / CONFIG
    if config.is_file():
        _require_same(config, card)
    return model, card


def without_paths(card: ModelCard) -> tuple[ModelCard, list[str]]:
    """The card without paths of a machine, and notes on what was removed."""
    extract, train = card.config.extract, card.config.train
    notes = [f"extract.weights is not published: it names files of this machine ({', '.join(extract.weights)})"]
    source = train.init_from and Path(train.init_from).name
    config = card.config.model_copy(
        update={
            "extract": extract.model_copy(update={"weights": {}, "device": "auto"}),
            "train": train.model_copy(update={"init_from": source}),
        }
    )
    return replace(card, config=config), notes if extract.weights else []


def read_facts(home: Path | None) -> dict[str, int]:
    """Numbers of videos that a run was trained on, from its record or from a published config.json; {} if unknown."""
    if home is None:
        return {}
    try:
        if (home / RECORD_FILE).is_file():
            facts = read_json(home / RECORD_FILE).get("scores", {})
        else:
            facts = read_json(home / CONFIG).get("training", {})
        return {name: int(facts[name]) for name in _FACTS if name in facts}
    except (AvlocError, TypeError, ValueError):
        return {}


def _localized(localizer: Localizer) -> RunConfig:
    return localizer.card.config.model_copy(update={"localize": localizer.options})


def _config(card: ModelCard, facts: Mapping[str, int]) -> dict[str, Any]:
    shown = {name: getattr(card, name) for name in _SAME}
    plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in shown.items()}
    config = card.config.model_dump(mode="json")
    return {"library_name": "avloc", "avloc_version": __version__, **plain, "training": dict(facts), "config": config}


def _require_same(path: Path, card: ModelCard) -> None:
    """FormatError if config.json says something else than the model file."""
    content = read_json(path)
    try:
        there = _config(replace(card, config=RunConfig.model_validate(content["config"])), {})
    except (KeyError, TypeError, ValidationError) as error:
        raise FormatError(f"{path}: expected the file that `avloc publish` writes ({type(error).__name__})") from error
    there |= {name: content.get(name) for name in _SAME}
    here = _config(card, {}) | {"classes": list(card.classes)}
    other = [name for name in (*_SAME, "config") if here[name] != there[name]]
    if other:
        raise FormatError(
            f"{path}: its {', '.join(other)} differs from {MODEL_FILE} beside it; publish the model again"
        )
