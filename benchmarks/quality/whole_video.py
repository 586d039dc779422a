"""Forms of the evidence for a class's whole video: the candidates of docs/decisions.md, Decoding.

L snippets; the class's smoothed curve has the mean m, the lowest part l and the highest value h. B / L, at most 1.5,
is the weight b of the prior that a short video was cut to its action.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from avloc.config import ContrastOptions, LocalizeConfig
from avloc.localize.contrast import contrast, smoothed
from avloc.types import ActivationSequence, Detection

LOWEST = {"min": 0.0, "fifth": 0.2, "third": 1 / 3}
"""What l is the mean of: the lowest snippet, or this share of the snippets."""


REFERENCES = ("present", "none")


@dataclass(frozen=True)
class Form:
    """One candidate; also a `Bonus` and a decoder.

    Args:
        kind: present, none, ratio, allowance, lowest, drop, relative or penalty.
        bonus: B. part: a key of LOWEST. value: the constant of the kind, if it has one.
    """

    kind: str
    bonus: float = 8.0
    part: str = "min"
    value: float | None = None

    @property
    def name(self) -> str:
        value = "" if self.value is None else f" {self.value:g}"
        return self.kind if self.kind in REFERENCES else f"{self.kind}{value}, l {self.part}, B {self.bonus:g}"

    @property
    def constants(self) -> int:
        """Number of constants: B, the share of the lowest part, the value."""
        return (self.kind != "none") + (self.part != "min") + (self.value is not None)

    def __call__(self, curves: Float[np.ndarray, "k l"], own: ContrastOptions) -> Float[np.ndarray, " k"]:
        smooth, m = np.sort(smoothed(curves, own.smooth_passes), axis=1), curves.mean(axis=1)
        count = max(1, round(LOWEST[self.part] * curves.shape[1]))
        low, high = smooth[:, :count].mean(axis=1), smooth[:, -1]
        weight, value = min(self.bonus / curves.shape[1], 1.5), self.value or 0.0
        match self.kind:
            case "none":
                return np.zeros(len(curves))
            case "present":
                return weight * m
            case "ratio":
                return weight * m * (low / np.maximum(high, 1e-12)) ** value
            case "allowance":
                return weight * m * (low + value) / (high + value)
            case "lowest":
                return weight * low
            case "drop":
                return weight * m * np.maximum(0.0, 1 - (high - low) / value)
            case "relative":
                return weight * m * np.maximum(0.0, 1 - (high - low) / (value * np.maximum(high, 1e-12)))
            case _:  # penalty
                return weight * m - value * (m - low)

    def decode(self, activations: ActivationSequence, options: LocalizeConfig) -> list[Detection]:
        return contrast(activations, options, self)


VALUES: dict[str, tuple[float | None, ...]] = {
    "ratio": (0.5, 1.0, 2.0),
    "allowance": (0.1, 0.2),
    "lowest": (None,),
    "drop": (0.3, 0.5, 0.7, 1.0, 1.4),
    "relative": (0.5, 0.7, 0.9, 1.0),
    "penalty": (0.5, 1.0),
}


def forms() -> Iterator[Form]:
    """The two references, then all candidates."""
    yield Form("present")
    yield Form("none", 0.0)
    for kind, values in VALUES.items():
        for value in values:
            for part in LOWEST:
                for bonus in (4.0, 8.0, 12.0, 16.0):
                    yield Form(kind, bonus, part, value)
