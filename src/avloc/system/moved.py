"""Deprecated import paths: they still work, with one warning each."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any


def forward(old: str, new: dict[str, str] | str) -> Callable[[str], Any]:
    """A module-level `__getattr__` that forwards names to their new modules.

    Args:
        old: the deprecated module, for the warning.
        new: the new module, or {name: new module}.
    """
    warned = False

    def __getattr__(name: str) -> Any:  # noqa: N807 - required by PEP 562
        nonlocal warned
        home = new if isinstance(new, str) else new.get(name)
        if home is None or name.startswith("__"):
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home), name)
        if not warned:
            warned = True
            warnings.warn(f"{old} is deprecated: import {name} from {home}", FutureWarning, stacklevel=2)
        return value

    return __getattr__
