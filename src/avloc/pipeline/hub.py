"""Models by name: on this machine, in the hub's cache, or downloaded; and how they get to the hub."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.errors import InputError
from avloc.features.backbones.hub_files import offline
from avloc.media.find import neighbours
from avloc.model.checkpoint import ModelCard
from avloc.model.files import MODEL_FILE
from avloc.pipeline.published import CONFIG, About, save_published

if TYPE_CHECKING:
    from avloc.pipeline.localizer import Localizer

_log = logging.getLogger("avloc")
_NAME = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:@([\w./-]+))?", re.ASCII)


def hub_name(text: str) -> tuple[str, str | None] | None:
    """("owner/name", revision or None) of "owner/name" and "owner/name@revision"; None for anything else.

    A path whose first folder exists on this machine is a path.
    """
    found = _NAME.fullmatch(text)
    return None if found is None or Path(text).parent.exists() else (found[1], found[2])


def find_model(run: Path) -> tuple[Path, bool]:
    """The folder or file of a run or model, and whether it comes from the hub.

    Raises:
        InputError: there is no such run, or it cannot be downloaded.
    """
    if run.exists():
        return run, False
    name = hub_name(run.as_posix())
    if name is None:
        raise InputError(
            f"{run}: expected a run folder, a published model, or a model on the hub as owner/name; it does not "
            f"exist{neighbours(run)}"
        )
    return fetch_model(*name), True


def fetch_model(repository: str, revision: str | None = None, **options: Any) -> Path:
    """Folder of a model of the hub, in the hub's cache; downloads model.safetensors and config.json, nothing else.

    Args:
        options: token, cache_dir, force_download, local_files_only, as of `huggingface_hub.hf_hub_download`.

    Raises:
        InputError: huggingface_hub is missing, or the model cannot be downloaded.
    """
    hub = _hub(repository)
    variable = offline()
    if variable:
        options["local_files_only"] = True
    try:
        path = hub.hf_hub_download(repository, MODEL_FILE, revision=revision, library_name="avloc", **options)
        try:
            hub.hf_hub_download(repository, CONFIG, revision=revision, library_name="avloc", **options)
        except hub.errors.EntryNotFoundError:
            _log.info("%s has no %s", repository, CONFIG)
    except Exception as error:  # errors of whichever HTTP library the hub's client uses
        closed = f", and {variable} is set" if variable else ""
        raise InputError(
            f"{repository}: no such folder here, and no avloc model of that name could be loaded from the hub"
            f"{closed} ({_first_line(error)})"
        ) from error
    return Path(path).parent


def trusted_part(card: ModelCard) -> ModelCard:
    """The card of a downloaded model without paths: a stranger does not choose which files of this machine are read."""
    weights = card.config.extract.weights
    if not weights:
        return card
    _log.warning(
        "the model names weight files (%s), which are not read; give yours with extract.weights", list(weights)
    )
    extract = card.config.extract.model_copy(update={"weights": {}})
    return replace(card, config=card.config.model_copy(update={"extract": extract}))


def push(localizer: Localizer, repository: str, about: About, **options: Any) -> str:
    """Publish to the hub, through `huggingface_hub.ModelHubMixin.push_to_hub`.

    Args:
        options: commit_message, private, token, branch, create_pr, as of that method.

    Returns:
        URL of the commit.

    Raises:
        InputError: huggingface_hub is missing, the name is not owner/name, or the hub refuses.
    """
    hub = _hub(repository)

    class Published(hub.ModelHubMixin, library_name="avloc"):  # type: ignore[call-arg, name-defined]
        def _save_pretrained(self, save_directory: Path) -> None:
            save_published(localizer, save_directory, replace(about, name=repository))

    if _NAME.fullmatch(repository) is None or "@" in repository:
        raise InputError(f"{repository!r}: expected the name of a repository on the hub, owner/name")
    try:
        return str(Published().push_to_hub(repository, **options))
    except InputError:
        raise
    except Exception as error:  # as in `fetch_model`
        raise InputError(
            f"{repository}: the hub did not take the model ({_first_line(error)}); log in with `hf auth login`, and "
            "check that the owner is your account or organisation"
        ) from error


def _hub(repository: str) -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise InputError(f"{repository}: models of the hub need huggingface_hub: pip install 'avloc[hub]'") from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
