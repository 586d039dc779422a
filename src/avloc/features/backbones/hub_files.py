"""Files of Hugging Face models: in a folder of the user, in the hub's cache, or downloaded to that cache.

Files on this machine are used without a request to the hub. AVLOC_OFFLINE, HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE
disable downloads. Otherwise a first request that is not retried fails at once if there is no network. Only the
configuration and one set of weights are downloaded: safetensors if the repository has them, else pytorch_model.bin.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avloc.errors import InputError
from avloc.features.backbones.families import FAMILIES
from avloc.features.weights import digest
from avloc.formats.json_file import parse_json

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""In order of preference; each may be split into shards that a file NAME.index.json lists."""
PROCESSORS = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")
TOKENIZERS = ("tokenizer.json", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model")
"""Files with the words of a text tower, of which a model has one or two."""
_TEXT = ("tokenizer_config.json", "special_tokens_map.json")

_TIMEOUT_S = 10
_TRUE = ("1", "ON", "YES", "TRUE")  # as huggingface_hub reads its variables


@dataclass(frozen=True)
class HubFiles:
    """A model on disk.

    Args:
        folder: with config.json.
        weights: one file, or all shards.
        origin: "owner/repository@commit" of a model in the hub's cache; "" for a folder of the user.
    """

    folder: Path
    weights: tuple[Path, ...]
    origin: str = ""

    def describe(self) -> str:
        """Origin, file names and SHA-256, for the source of a feature file."""
        files = [f"{path.name} sha256:{digest(path)}" for path in self.weights]
        return "; ".join([self.origin, *files] if self.origin else files)


def locate(name: str, repository: str, given: str | None = None) -> HubFiles:
    """Files of the model `name`, downloaded if necessary.

    Args:
        given: the user's folder: a downloaded model, or a repository's folder in a copy of the hub's cache.

    Raises:
        InputError: the files are missing, incomplete or damaged, or cannot be downloaded; says what to put where.
    """
    if given is not None:
        return _in_folder(f"--weights {name}={given}", Path(given))
    found = find_cached(repository)
    if found is None:
        if variable := offline():
            raise InputError(_unavailable(name, repository, f"not on this machine, and {variable} is set"))
        _download(name, repository)
        found = find_cached(repository)
    if found is None:
        raise InputError(f"{repository}: expected {CONFIG} and {' or '.join(WEIGHTS)}, but the hub has no such file")
    _check_blobs(found)
    return found


def offline() -> str | None:
    """Name of the environment variable that forbids downloads, or None."""
    if os.environ.get("AVLOC_OFFLINE"):
        return "AVLOC_OFFLINE"
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return next((name for name in names if os.environ.get(name, "").upper() in _TRUE), None)


def find_cached(repository: str) -> HubFiles | None:
    """The repository's files in the hub's cache if they are complete, else None; the network is not used.

    Raises:
        InputError: `repository` is not "owner/name".
    """
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        return None
    try:
        config = try_to_load_from_cache(repository, CONFIG)
    except HFValidationError:
        raise InputError(f"{repository!r}: expected the name of a repository, owner/name") from None
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    wanted = wanted_weights(folder)
    if not wanted or not all((folder / file).is_file() for file in wanted):
        return None
    return HubFiles(folder, tuple(folder / file for file in wanted), f"{repository}@{folder.name}")


def wanted_weights(folder: Path) -> list[str]:
    """Names of the weight files that a model's folder should hold, by its index if they are shards; empty if none."""
    for file in WEIGHTS:
        if (folder / file).is_file():
            return [file]
        index = folder / f"{file}.index.json"
        if index.is_file():
            return _shards(index)
    return []


def _shards(index: Path) -> list[str]:
    named = read_json(index, "an index of weight files").get("weight_map")
    shards = list(named.values()) if isinstance(named, dict) else []
    if not shards or not all(isinstance(file, str) and Path(file).name == file for file in shards):
        raise InputError(f"{index}: expected names of weight files in the same folder under 'weight_map'")
    return sorted(set(shards))


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object. Raises InputError if the file holds anything else."""
    try:
        content = parse_json(path, None if path.is_file() else b"")
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path}: expected {what}, but it is unreadable ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected {what}, got a {type(content).__name__}")
    return content


def _in_folder(option: str, folder: Path) -> HubFiles:
    main = folder / "refs" / "main"
    if main.is_file():
        commit = main.read_bytes()[:100].decode("utf-8", "replace").strip() if main.stat().st_size <= 100 else ""
        if not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise InputError(f"{option}: expected a commit in {main}, got {commit!r}")
        folder = folder / "snapshots" / commit
    expected = f"expected a folder with {CONFIG} and {' or '.join(WEIGHTS)}"
    if not (folder / CONFIG).is_file():
        raise InputError(f"{option}: {expected}; {folder / CONFIG} does not exist")
    wanted = wanted_weights(folder)
    missing = [file for file in wanted if not (folder / file).is_file()]
    if not wanted or missing:
        partial = next(folder.glob(".cache/huggingface/download/*.incomplete"), None)
        hint = "; a download was interrupted, run it again" if partial is not None else ""
        raise InputError(f"{option}: {expected}; {f'{missing[0]} is' if missing else 'the weights are'} missing{hint}")
    return HubFiles(folder, tuple(folder / file for file in wanted))


def _check_blobs(files: HubFiles) -> None:
    """Compare the weights with the hub's checksums: the cache names each large file by its SHA-256."""
    for path in files.weights:
        blob = path.resolve()
        if len(blob.name) == 64 and blob.name != digest(path):
            raise InputError(
                f"{blob}: expected sha256 {blob.name}, got {digest(path)}: damaged; delete it and try again"
            )


def _download(name: str, repository: str) -> None:
    """Download the configuration and the weights to the hub's cache."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import GatedRepoError

    try:
        listing = HfApi().model_info(repository, timeout=_TIMEOUT_S).siblings or []
        there = {entry.rfilename for entry in listing}
        for file in (CONFIG, *PROCESSORS, *TOKENIZERS, *_TEXT):
            if file in there:
                hf_hub_download(repository, file)
        candidates = [file for stem in WEIGHTS for file in (stem, f"{stem}.index.json") if file in there]
        for file in candidates[:1]:
            path = Path(hf_hub_download(repository, file))
            for shard in _shards(path) if path.suffix == ".json" else []:
                hf_hub_download(repository, shard)
    except GatedRepoError as error:
        raise InputError(_unavailable(name, repository, "gated, and this account has no access")) from error
    except InputError:
        raise
    except Exception as error:  # errors of whichever HTTP library the hub's client uses
        reason = str(error).strip().splitlines()[0][:150] if str(error).strip() else type(error).__name__
        raise InputError(
            _unavailable(name, repository, f"not on this machine and cannot be downloaded ({reason})")
        ) from error


def _unavailable(name: str, repository: str, reason: str) -> str:
    stem = name.partition(":")[0]
    gated = reason.startswith("gated") or FAMILIES[stem].gated
    gate = (
        f"accept the licence at https://huggingface.co/{repository}, log in with `hf auth login`, then "
        if gated
        else ""
    )
    return (
        f"the weights of {repository} are {reason}. On a machine with network access, {gate}run "
        f"`hf download {repository} --local-dir FOLDER`, and give --weights {stem}=FOLDER"
    )
