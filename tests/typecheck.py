"""The checker that jaxtyping runs under pytest: beartype, with int accepted where float is asked for (PEP 484)."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

numeric_tower = beartype(conf=BeartypeConf(is_pep484_tower=True))
