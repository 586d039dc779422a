"""The preset `paper` against the paper's text, and the published cells against a second transcription of its tables.

Section, equation and table numbers are those of Lee et al., ICLR 2021. Nothing here is read from the presets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from avloc.config import RunConfig, preset
from avloc.model.batch import Batch
from avloc.model.checkpoint import ModelCard
from avloc.model.network import AudioVisualLocalizer
from avloc.paper.published import PAPER
from avloc.paper.rows import ROWS
from avloc.presets import PRESETS
from avloc.train.step import term_weights

STATED: dict[str, Any] = {
    "model.method": "avloc",
    "model.modality": "audio-visual",
    "model.num_stages": 2,  # below Eq. 4: t_e is empirically set to 2
    "model.embed_dim": 1024,  # §4.2: d_x is 1,024
    "model.audio_embed_dim": None,  # §3.1: both x_u and x_v have d_x
    "model.visual_embed_dim": None,
    "model.skip": "dense",  # Eq. 3
    "model.share_weight": False,  # Appendix A: one more stage is one more weight matrix
    "model.head": "open-max",  # §3.2
    "model.direct": False,  # §3.2: the classifier is fed x_att, nothing else
    "model.dropout": 0.7,  # §4.2: of the final attended audio-visual features
    "model.correlation_scale": 1.0,  # Eq. 1: Λ = X_uᵀ W X_v, without a factor
    "model.modality_dropout": 0.0,  # §4.2 names one dropout only
    "loss.coactivity_weight": 0.8,  # §4.2: α
    "loss.continuity_weight": 0.8,  # §4.2: β
    "loss.smooth_width": 4,  # §4.2: B
    "loss.detach_smooth": False,  # Eq. 8 stops no gradient
    "loss.pseudo_weight": 1.0,  # §4.2: γ
    "loss.pseudo_labels": "hard",  # Eq. 9: ĉ = argmax q, above τ only
    "loss.pseudo_from_labels": False,  # Eq. 9: argmax over all C + 1
    "loss.warmup": 0.0,  # Eq. 10 has constant weights
    "loss.mil_scores": "open-max",  # Appendix D: "the prediction score corresponding to a class"
    "train.learning_rate": 1e-4,  # §4.2
    "train.batch_size": 30,  # §4.2
    "train.teacher_decay": 0.0,  # Eq. 9: q is of the network itself
    "train.grad_clip": 0.0,
    "train.weight_decay": 0.0,  # §4.2: plain Adam
    "localize.decode": "actions",  # §4.2: two-stage thresholding
    "localize.actions.class_gate": "mean",  # §4.2: classes below the average over all classes are filtered out
}
W_TALC: dict[str, Any] = {
    "loss.topk_divisor": 8,
    "loss.coactivity_margin": 0.5,
    "train.pair_fraction": 0.6,
    "localize.min_snippets": 2,
    "localize.actions.threshold_factor": 0.5,
    "localize.actions.score_weight": 0.7,
    "localize.actions.smooth_snippets": 0,
}
"""Of the losses and the thresholds that §4.2 and Appendix D take from Paul et al. (2018)."""
SILENT: dict[str, Any] = {
    "model.leaky_slope": 0.01,
    "model.grid_cells": 1,  # of another method
    "model.audio_normalize": "standard",  # measured: docs/decisions.md
    "model.visual_normalize": "l2",
    "loss.mil_background": "always",
    "loss.mil_background_weight": 0.5,
    "loss.correction_weight": 1.0,  # the paper has no corrections
    "loss.prior_weight": 0.0,  # the paper has no words
    "loss.smooth_sigma": None,
    "loss.neighbors": 4,
    "loss.threshold": 0.7,
}
"""Chosen here, because the paper does not say: docs/method.md. With τ near 0.5, where p_0 begins, everything becomes
background; the window has two neighbours on each side."""


def value(config: RunConfig, key: str) -> Any:
    found: Any = config
    for name in key.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("key", [*STATED, *W_TALC, *SILENT])
def test_the_preset_has_the_papers_value(key: str) -> None:
    assert value(preset("paper"), key) == {**STATED, **W_TALC, **SILENT}[key]


def test_every_setting_of_model_and_loss_is_one_of_the_three_kinds() -> None:
    config = preset("paper")
    fields = {f"{part}.{name}" for part in ("model", "loss") for name in type(getattr(config, part)).model_fields}
    kinds = [set(kind) for kind in (STATED, W_TALC, SILENT)]
    assert {key for kind in kinds for key in kind if key.startswith(("model.", "loss."))} == fields
    assert sum(map(len, kinds)) == len(set().union(*kinds))


def test_localization_of_events_is_argmax() -> None:
    assert preset("ave").localize.decode == "events"  # §4.2: arg max over classes and background, for AVE


def papers(classes: int = 100, **changes: Any) -> AudioVisualLocalizer:
    config = preset("paper", {f"model.{name}": value for name, value in changes.items()})
    model = ModelCard(config, tuple(map(str, range(classes))), 128, 2048, {}).build()
    assert isinstance(model, AudioVisualLocalizer)
    return model


def batch_of(videos: int, snippets: int, classes: int) -> Batch:
    """Random features as VGGish and I3D have them: none is negative."""
    rng = np.random.default_rng(0)
    audio, visual = (torch.from_numpy(rng.random((videos, snippets, d), dtype=np.float32)) for d in (128, 2048))
    labels = torch.eye(classes)[torch.arange(videos) % classes]
    full = torch.ones(videos, snippets, dtype=torch.bool)
    return Batch(audio, visual, full, torch.ones(videos, 2, dtype=torch.bool), labels)


def test_layers_are_those_of_appendix_c() -> None:
    """f_u, f_v: FC to d_x; one W of d_x x d_x per stage; f_μ, f_ac: FC from 2 d_x to 1 and to C."""
    shapes = {name: tuple(weight.shape) for name, weight in papers().named_parameters()}
    fc = {"embeds.audio": (1024, 128), "embeds.visual": (1024, 2048)}
    fc |= {"action_head": (100, 2048), "background_head": (1, 2048)}
    expected = {f"{name}.weight": shape for name, shape in fc.items()}
    expected |= {f"{name}.bias": shape[:1] for name, shape in fc.items()}
    expected |= {"fusion.weights.0": (1024, 1024), "fusion.weights.1": (1024, 1024)}
    assert shapes == expected


def test_parameters_begin_as_glorot_and_bengio_say() -> None:
    """§4.2, Xavier: uniform in ±sqrt(6 / (in + out)); biases 0."""
    for name, weight in papers(embed_dim=256).named_parameters():
        if name.endswith("bias"):
            assert not weight.any(), name
        else:
            bound = (6 / sum(weight.shape)) ** 0.5
            assert 0.95 * bound < float(weight.detach().abs().max()) <= bound, name
            assert float(weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.1), name


def test_seven_tenths_of_the_attended_features_are_dropped_in_training_only() -> None:
    model, batch = papers(embed_dim=256), batch_of(4, 20, 100)
    torch.manual_seed(0)
    dropped = model.train()(batch).embedding
    assert dropped.shape == (4, 20, 512)  # Eq. 4: the two attended features, nothing else
    assert float((dropped == 0).float().mean()) == pytest.approx(0.7, abs=0.02)
    whole = model.eval()(batch).embedding
    torch.testing.assert_close(dropped[dropped != 0], whole[dropped != 0] / 0.3)


MARKS = {"0": "", "I": "C", "II": "P", "III": "CP"}
"""Marks of L_cont and L_pseu in Tables 2, 9 and 10 for the open-max rows."""
SOFT_MARKS = {"0": "", "I": "P"}
"""For the soft-max rows: there is no L_cont (§4.3)."""


@pytest.mark.parametrize("table", ["table2", "table9", "table10"])
def test_rows_train_with_the_losses_that_the_paper_marks(table: str) -> None:
    for row, recipe in ROWS[table].items():
        kind, _, number = row.rpartition(", ")[2].partition("-")
        weights = term_weights(config := recipe.config(PRESETS["paper"], {}, 0), step=1)
        marks = (MARKS if kind == "O" else SOFT_MARKS)[number]
        expected = {"mil": 1.0, "coactivity": 0.8, "continuity": 0.8 * ("C" in marks), "pseudo": 1.0 * ("P" in marks)}
        assert weights == expected, row
        assert config.model.head == {"O": "open-max", "S": "soft-max"}[kind]
        assert config.model.num_stages == (int(row[0]) if table == "table9" else 2)


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines()]


SHORT = ("accuracy", "mAP@0.5", "mAP@0.6", "mAP@0.7", "mAP@0.8", "average mAP")

TABLE_1 = """
32.1 45.2 65.0 75.0 77.1 75.6
12.3 38.3 37.6 42.1 44.8 39.5
10.9 32.9 32.4 35.3 37.8 33.8
 9.7 25.4 26.7 29.5 30.8 27.9
 7.6 19.2 19.4 20.8 22.5 20.9
 7.8 22.1 22.0 24.1 26.0 23.3
"""
"""As printed: one column for each of audio, visual, 0, 1, 2 and 3 stages."""

TABLE_2 = """
68.5 39.4 35.7 30.7 19.8 23.8
64.9 39.9 33.7 23.8 14.3 20.3
75.9 44.1 37.4 31.1 22.4 25.7
77.1 44.8 37.8 30.8 22.5 26.0
"""

TABLE_6 = """
41.3 38.8 35.9 32.9 30.4 27.0 22.2 18.2 13.2 6.1 26.6
37.0 33.5 30.4 25.7 16.6 12.7 10.0 7.0 4.2 1.5 18.0
37.1 33.4 29.9 26.7 23.4 20.3 17.2 13.9 9.2 5.0 21.6
36.8 - - - - 22.0 - - - 5.6 22.4
39.4 - - - 15.4 - - - - - -
41.0 37.5 33.5 30.1 26.9 23.5 19.8 15.5 10.8 5.3 24.4
37.4 - - - 23.1 - - - 2.0 - 20.3
15.4 13.9 12.5 11.2 10.2 9.1 7.6 5.7 1.6 0.3 8.8
41.2 38.4 34.8 31.8 26.3 17.0 5.6 2.2 0.8 0.2 19.8
39.4 37.0 33.5 30.6 27.7 23.6 20.0 13.6 3.0 0.6 22.9
44.8 42.1 37.8 34.2 30.8 26.7 22.5 15.9 4.0 1.0 26.0
45.0 41.8 38.3 34.0 29.7 26.3 22.1 15.7 4.7 1.0 25.9
"""
NAMES_6 = (
    "Zhao et al. (2017), fully supervised",
    *("Paul et al. (2018)", "Liu et al. (2019b)", "Liu et al. (2019a)", "Jain et al. (2020)", "Shi et al. (2020)"),
    *("Luo et al. (2020)", "Tian et al. (2018)", "Naive fusion (0-stage)", "Naive fusion (0-stage) + CL"),
    *("Ours", "Ours (efficient)"),
)

TABLE_8 = """
72.7 73.2 73.7
74.8 74.8 74.7
73.2 75.0 75.0
73.7 74.3 74.4
"""
"""Rows d_xu = 128, 512, 1024, 2048; columns d_xv = 512, 1024, 2048."""

TABLE_9 = """
57.7 42.8 35.9 27.6 7.2 21.0
66.8 29.4 25.3 20.5 13.6 16.5
65.0 37.6 32.4 26.7 19.4 22.0
64.6 39.8 33.4 27.4 13.0 21.9
73.7 41.5 34.9 28.4 20.9 24.0
75.0 42.1 35.3 29.5 20.8 24.1
64.9 39.9 33.7 23.8 14.3 20.3
75.9 44.1 37.4 31.1 22.4 25.7
77.1 44.8 37.8 30.8 22.5 26.0
66.2 38.4 31.8 25.5 17.7 21.5
74.3 39.8 33.7 27.9 20.7 23.2
74.6 39.5 33.8 27.9 20.9 23.3
"""

TABLE_10 = """
62.1? 36.4 28.4 22.7 15.8 19.?
68.5 39.4 35.7 30.7 19.8 23.8
60.4? 35.4 27.5 2?.9 12.7? 18.?
64.9 39.9 33.7 23.8 14.3 20.3
75.9 44.1 37.4 31.1 22.4 25.7
77.1 44.8 37.8 30.8 22.5 26.0
"""


def named(names: list[str] | tuple[str, ...], cells: list[list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(row) for name, row in zip(names, cells, strict=True)}


FULL = tuple(f"mAP@{t}" for t in ("0.5", "0.55", "0.6", "0.65", "0.7", "0.75", "0.8", "0.85", "0.9", "0.95"))
SKIP = ("w/o skip", "w/ skip", "w/ dense skip")
SQUARE = [f"1-stage, {u} x {v}" for u in (128, 512, 1024, 2048) for v in (512, 1024, 2048)]
KINDS = [f"{t}-stage, {kind}" for t in range(4) for kind in ("O-I", "O-II", "O-III")]

PRINTED: dict[str, tuple[int, tuple[str, ...], dict[str, tuple[str, ...]]]] = {
    "table1": (
        6,
        SHORT,
        named(
            ("audio", "visual", *(f"{t}-stage" for t in range(4))), [list(c) for c in zip(*rows(TABLE_1), strict=True)]
        ),
    ),
    "table2": (7, SHORT, named(("S-I", "O-I", "O-II", "O-III"), rows(TABLE_2))),
    "table3": (
        8,
        ("average mAP",),
        {
            "w/o skip connection": ("24.1",),
            "w/ skip connection": ("24.9",),
            "w/ dense skip connections": ("26.0",),
        },
    ),
    "table4": (
        8,
        ("multiply-adds", "average mAP"),
        {
            "visual-only, 1024": ("2.3e6", "22.1"),
            "1-stage, 1024": ("3.5e6", "24.1"),
            "2-stage, 1024": ("4.0e6", "26.0"),
            "visual-only, 512": ("1.2e6", "21.0"),
            "2-stage, 512": ("1.7e6", "25.9"),
        },
    ),
    "table5": (
        9,
        ("accuracy",),
        {
            "Tian et al. (2018)": ("74.7 / 73.1",),
            "Lin et al. (2019)": ("75.4 / 74.2",),
            "Owens & Efros (2018)": ("72.3 / 68.8",),
            "Xuan et al. (2020)": ("77.1 / 75.7",),
            "Proposed": ("-/77.1",),
        },
    ),
    "table6": (9, (*FULL, "average mAP"), named(NAMES_6, rows(TABLE_6))),
    "table7": (
        13,
        ("average mAP",),
        {
            **{f"{s}, 2-stage": (v,) for s, v in zip(SKIP, ("24.1", "24.9", "26.0"), strict=True)},
            **{f"{s}, 3-stage": (v,) for s, v in zip(SKIP, ("24.7", "23.2", "23.3"), strict=True)},
            **{f"{s}, 3-stage, 2 frozen": (v,) for s, v in zip(SKIP[1:], ("24.9", "25.2"), strict=True)},
        },
    ),
    "table8": (
        13,
        ("accuracy",),
        {**named(SQUARE, [[v] for row in rows(TABLE_8) for v in row]), "2-stage, 1024 x 1024": ("77.1",)},
    ),
    "table9": (14, SHORT, named(KINDS, rows(TABLE_9))),
    "table10": (15, SHORT, named(("S-0", "S-I", "O-0", "O-I", "O-II", "O-III"), rows(TABLE_10))),
}
"""{table: (page, columns, rows)}, typed from the paper a second time; `?` is an illegible or doubtful digit."""


@pytest.mark.parametrize("table", PRINTED)
def test_published_cells_are_those_of_the_paper(table: str) -> None:
    published = PAPER[table]
    page, columns, cells = PRINTED[table]
    assert (published.page, published.columns) == (page, columns)
    assert published.rows == cells
    assert set(PAPER) == set(PRINTED)
