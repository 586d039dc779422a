"""Settings of a trained run that may change after training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from avloc.config import with_overrides
from avloc.errors import ConfigError

if TYPE_CHECKING:
    from avloc.pipeline.localizer import Localizer

_OF_THE_MACHINE = ("extract.precision", "extract.compile", "extract.weights")
"""Settings of the extraction that may change after training: they name hardware and places, not other features."""


def with_options(localizer: Localizer, overrides: Mapping[str, Any]) -> Localizer:
    """The same model with some settings changed: `localize.*`, `extract.precision`, `.compile` and `.weights`.

    Raises:
        ConfigError: a key is unknown or was fixed in training, or a value is out of range.
    """
    config = localizer.card.config.model_copy(update={"localize": localizer.options})
    changed = with_overrides(config, overrides)
    for key in overrides:
        if not key.startswith("localize.") and key not in _OF_THE_MACHINE:
            raise ConfigError(
                f"{key} was fixed when the run was trained; only localize.* and {', '.join(_OF_THE_MACHINE)} can be "
                "set here"
            )
    card = replace(localizer.card, config=localizer.card.config.model_copy(update={"extract": changed.extract}))
    kept = localizer.device, localizer.streams, localizer.home, localizer.allow_download
    return type(localizer)(localizer.model, card, changed.localize, *kept)


def for_call(localizer: Localizer, min_score: float | None, options: Mapping[str, Any]) -> Localizer:
    """The same model with the settings of `localize.*` that one call names.

    Raises:
        ConfigError: as `with_options`, or no detection can have a score of `min_score`.
    """
    given = options if min_score is None else {**options, "min_score": min_score}
    if not given:
        return localizer
    changed = with_options(localizer, {f"localize.{name}": value for name, value in given.items()})
    if min_score is not None and min_score > 1 and changed.options.decode == "contrast":
        raise ConfigError(
            f"min_score: scores of localize.decode=contrast are probabilities, expected at most 1, got {min_score:g}"
        )
    return changed
