"""The configuration of each row of the paper's tables, as changes to a base configuration.

Embedding sizes are shares of the base's d_x, 1,024 in the paper: with 128, Table 8 has an eighth of the paper's sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from avloc.config import RunConfig, preset
from avloc.errors import InputError, did_you_mean
from avloc.paper.published import PAPER
from avloc.presets import RIVALS

PAPER_EMBED_DIM = 1024  # paper §4.2


@dataclass(frozen=True)
class Row:
    """A row of a table that is a model: how it differs from the base configuration.

    Args:
        changes: {"section.key": value}.
        share, audio_share, visual_share: d_x, d_xu, d_xv as shares of the base's d_x; None: equal to d_x.
        start: the row whose run provides the frozen stages; `changes` holds their number.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    share: float = 1.0
    audio_share: float | None = None
    visual_share: float | None = None
    start: Row | None = None

    def config(self, base: Mapping[str, Any], overrides: Mapping[str, Any], seed: int) -> RunConfig:
        """The full configuration of this row.

        Args:
            base: settings of a preset. overrides: changes to it for all rows; the row's own take precedence.

        Raises:
            ConfigError: an unknown key.
        """
        width = preset("default", {**base, **overrides, **self.changes}).model.embed_dim
        sizes: dict[str, Any] = {"model.embed_dim": _size(width, self.share)}
        for name, share in (("audio", self.audio_share), ("visual", self.visual_share)):
            if share is not None:
                sizes[f"model.{name}_embed_dim"] = _size(width, share)
        return preset("default", {**base, **overrides, **sizes, **self.changes, "train.seed": seed})


def _size(width: int, share: float) -> int:
    return max(1, round(width * share))


def _stages(count: int, **more: Any) -> Row:
    return Row({"model.num_stages": count, **{key.replace("__", "."): value for key, value in more.items()}})


_ONLY: dict[str, dict[str, Any]] = {  # consistency losses and classifier (§4.3, Tables 2, 9 and 10)
    "S-0": {"model.head": "soft-max", "loss.continuity_weight": 0.0, "loss.pseudo_weight": 0.0},
    "S-I": {"model.head": "soft-max", "loss.continuity_weight": 0.0},
    "O-0": {"loss.continuity_weight": 0.0, "loss.pseudo_weight": 0.0},
    "O-I": {"loss.pseudo_weight": 0.0},
    "O-II": {"loss.continuity_weight": 0.0},
    "O-III": {},
}
_VISUAL = {"model.modality": "visual"}


def _losses(name: str, stages: int = 2) -> Row:
    return Row({"model.num_stages": stages, **_ONLY[name]})


def _frozen(skip: str) -> Row:
    return Row(
        {"model.num_stages": 3, "model.skip": skip, "train.frozen_stages": 2}, start=_stages(2, model__skip=skip)
    )


def _table7() -> dict[str, Row]:
    rows = {}
    for name, skip in (("w/o skip", "none"), ("w/ skip", "plain"), ("w/ dense skip", "dense")):
        rows[f"{name}, 2-stage"] = _stages(2, model__skip=skip)
        rows[f"{name}, 3-stage"] = _stages(3, model__skip=skip)
        if skip != "none":
            rows[f"{name}, 3-stage, 2 frozen"] = _frozen(skip)
    return rows


def _table8() -> dict[str, Row]:
    rows = {}
    for audio in (128, 512, 1024, 2048):
        for visual in (512, 1024, 2048):
            square = audio == visual == PAPER_EMBED_DIM  # the 1-stage model of Table 1: same configuration, same run
            audio_share, visual_share = (None if square else size / PAPER_EMBED_DIM for size in (audio, visual))
            name = f"1-stage, {audio} x {visual}"
            rows[name] = Row({"model.num_stages": 1}, audio_share=audio_share, visual_share=visual_share)
    rows["2-stage, 1024 x 1024"] = _stages(2)
    return rows


ROWS: dict[str, dict[str, Row]] = {
    "table1": {
        "audio": Row({"model.modality": "audio"}),
        "visual": Row(_VISUAL),
        **{f"{t}-stage": _stages(t) for t in range(4)},
    },
    "table2": {name: _losses(name) for name in ("S-I", "O-I", "O-II", "O-III")},
    "table3": {
        "w/o skip connection": _stages(2, model__skip="none"),
        "w/ skip connection": _stages(2, model__skip="plain"),
        "w/ dense skip connections": _stages(2),
    },
    "table4": {
        "visual-only, 1024": Row(_VISUAL),
        "1-stage, 1024": _stages(1),
        "2-stage, 1024": _stages(2),
        "visual-only, 512": Row(_VISUAL, share=0.5),
        "2-stage, 512": Row({"model.num_stages": 2}, share=0.5),
    },
    "table5": {"Tian et al. (2018)": Row(RIVALS["tian"]), "Proposed": _stages(2)},
    "table6": {
        "Paul et al. (2018)": Row(RIVALS["w-talc"]),
        "Tian et al. (2018)": Row(RIVALS["tian"]),
        "Naive fusion (0-stage)": _losses("S-0", stages=0),
        "Naive fusion (0-stage) + CL": _losses("S-I", stages=0),
        "Ours": _stages(2),
        "Ours (efficient)": Row({"model.num_stages": 2}, share=0.5),
    },
    "table7": _table7(),
    "table8": _table8(),
    "table9": {f"{t}-stage, {name}": _losses(name, t) for t in range(4) for name in ("O-I", "O-II", "O-III")},
    "table10": {name: _losses(name) for name in _ONLY},
}
"""{table: {name: row}}. The paper's other rows are published numbers of other methods."""


def rows_of(names: Sequence[str]) -> dict[str, dict[str, Row]]:
    """{table: {name: row}} of the named tables; all if `names` is empty.

    Raises:
        InputError: no such table.
    """
    for name in names:
        if name not in ROWS:
            raise InputError(f"there is no {name!r} in the paper.{did_you_mean(name, PAPER)}")
    return {name: rows for name, rows in ROWS.items() if name in names or not names}
