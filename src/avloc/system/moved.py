"""Old import paths that still work, with one warning each."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["forward"]


def forward(old: str, new: dict[str, str] | str) -> Callable[[str], Any]:
    """A module's `__getattr__` that looks names up where they are now.

    Args:
        old: the old module, for the warning.
        new: the new module, or {name: new module} where names went to different ones.
    """
    warned = False

    def __getattr__(name: str) -> Any:  # noqa: N807 - Python's name for it
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
