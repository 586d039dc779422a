"""For every test: shapes are checked at each call of avloc, and what torch computes with is left as it was."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import config, install_import_hook

install_import_hook("avloc", "typecheck.numeric_tower")

# the same backbones for everyone: no download, and none of the weights that a developer may have
os.environ["AVLOC_OFFLINE"] = "1"
os.environ["AVLOC_CACHE"] = os.path.join(tempfile.gettempdir(), "avloc-tests-have-no-weights")

# small networks gain nothing from threads, and on a busy machine threads that wait for each other took 20 times as long
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="module")
def undisturbed(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the jobs of `jobs.py` make of a module's `home` if nothing disturbs them."""
    from jobs import Undisturbed

    return Undisturbed(home, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the shape checks, as for users: the checks would answer a wrong argument before avloc does."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """The number of threads decides the last bits of a result: a test that leaves another one breaks later ones."""
    before = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    yield
    assert before == (torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")), "torch's threads were changed"
