"""Shape annotations are enforced in every test: jaxtyping's import hook checks each call of avloc."""

from __future__ import annotations

from jaxtyping import install_import_hook

install_import_hook("avloc", "typecheck.numeric_tower")
