"""Settings of a run, frozen and validated; each field ends with its source.

docs/decisions.md holds the measurements behind the values marked `# ours`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from avloc.config.renamed import present_names
from avloc.mediafile import StreamChoice
from avloc.presets import AUTOMATIC


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """What differs from the defaults: the whole configuration fills a screen (`RunConfig.to_yaml`)."""
        fields = type(self).model_fields
        return ((name, value) for name, value in self if value != fields[name].default)


MOST_CHANNELS = 65_536
"""Channels of features: published backbones have at most 4,096."""

MOST = 1_000_000
"""Snippets, videos of a batch, detections of a class: far more than any use, and no overflow or endless loop."""

Name = Annotated[str, Field(max_length=4096)]

AUTO = "auto"
"""In place of a backbone: the best that is available."""


class ExtractConfig(Options):
    """Raw video to snippet features. `frames_per_snippet` at `fps`, if given, replaces `step_s`."""

    visual: Name | None = AUTO  # ours: see features/choose.py; the paper has I3D and ResNet-152 (§4.2)
    audio: Name | None = AUTO  # ours: see features/choose.py; the paper has VGGish (§4.2)
    step_s: float = Field(1.0, ge=1e-3, le=3600)  # AVE's second; ActivityNet's I3D features have 0.64
    frames_per_snippet: int | None = Field(None, ge=1, le=100_000)  # W-TALC: 16, which at fps 25 make a step of 0.64 s
    fps: float | None = Field(None, ge=1e-3, le=1000)  # frame rate for the backbone; None: its own (I3D 25)
    dtype: Literal["float32", "float16"] = "float32"  # ours: float16 halves the file size
    weights: dict[Name, Name] = Field({}, max_length=100)  # ours: {name of a weight file: path}; "*" matches every name
    video_stream: int | None = Field(
        None, ge=1, le=9999
    )  # ours: number in the file, from 1; None: by its default flags
    audio_stream: int | Literal["mix"] | None = None  # ours: likewise; "mix": the mean of all, for several microphones
    device: Name = "auto"  # ours: cuda if available
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # ours: see features/backbones/protocol.py
    compile: bool = False  # ours: torch.compile costs minutes before the first snippet

    @field_validator("audio_stream", mode="before")
    @classmethod
    def _number_or_mix(cls, stream: Any) -> Any:
        number = int(stream) if isinstance(stream, str) and re.fullmatch("[0-9]{1,4}", stream) else stream
        if number not in (None, "mix") and not (type(number) is int and 1 <= number <= 9999):
            raise ValueError("expected a number from 1, or mix")
        return number

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,4})?", device):
            raise ValueError("expected auto, cpu, cuda, cuda:N or mps")
        return device

    @model_validator(mode="after")
    def _one_grid(self) -> ExtractConfig:
        if self.frames_per_snippet is not None and self.fps is None:
            raise ValueError("extract.frames_per_snippet needs extract.fps: 16 at 25 per second make a step of 0.64 s")
        if not 1e-3 <= float(self.step) <= 3600:
            raise ValueError(f"expected snippets of 0.001 to 3600 s, got {float(self.step):g} s")
        return self

    @property
    def streams(self) -> StreamChoice:
        """Streams to use of every file; those of the audio only where its features are made."""
        return StreamChoice(self.video_stream, self.audio_stream if self.audio is not None else None)

    @property
    def step(self) -> Fraction:
        """Seconds per snippet, exact."""
        if self.frames_per_snippet is not None and self.fps is not None:
            return self.frames_per_snippet / Fraction(str(self.fps))
        return Fraction(str(self.step_s))


Normalization = Literal["none", "l2", "scale", "standard"]
"""How raw features are scaled; see `model.network.InputNorm`."""


class ModelConfig(Options):
    """Eq. 1-5: fusion and classification."""

    method: Literal["avloc", "w-talc", "tian"] = "avloc"  # Tables 5-6: the paper's model or a baseline
    modality: Literal["audio-visual", "audio", "visual"] = "audio-visual"  # Table 1
    num_stages: int = Field(2, ge=0, le=64)  # paper §4.3; t_e, 0 is plain concatenation
    embed_dim: int = Field(1024, ge=1, le=10 * MOST)  # paper §4.2; d_x
    audio_embed_dim: int | None = Field(
        None, ge=1, le=MOST_CHANNELS
    )  # Table 8; d_xu if W is rectangular, else embed_dim
    visual_embed_dim: int | None = Field(
        None, ge=1, le=MOST_CHANNELS
    )  # Table 8; d_xv if W is rectangular, else embed_dim
    skip: Literal["none", "plain", "dense"] = "dense"  # Eq. 3, Table 3
    share_weight: bool = False  # ours: Table 4 and Appendix A count one W per stage
    head: Literal["open-max", "soft-max"] = "open-max"  # §3.2, Table 2
    direct: bool = True  # ours: the heads also see each snippet's own embedding; Eq. 5 has X_att only
    dropout: float = Field(0.5, ge=0, lt=1)  # ours: paper §4.2 has 0.7
    leaky_slope: float = Field(0.01, ge=0, le=1)  # ours: paper silent
    correlation_scale: float = Field(8.0, gt=0, le=1000)  # ours: with 1 (Eq. 1) attention stays almost uniform
    audio_normalize: Normalization = "standard"  # ours: paper silent; keeps loudness
    visual_normalize: Literal["auto", Normalization] = "auto"  # ours: auto is the choice of the backbone's card
    modality_dropout: float = Field(0.3, ge=0, lt=1)  # ours: probability that training hides one modality of a video
    grid_cells: int = Field(
        1, ge=1, le=4096
    )  # Tian et al. 2018: 49 if visual rows are a flattened 7 x 7 grid, 1 if pooled

    @property
    def open_max(self) -> bool:
        """Whether the classifier has a separate reliability; the baselines do not."""
        return self.method == "avloc" and self.head == "open-max"

    @model_validator(mode="after")
    def _possible(self) -> ModelConfig:
        needed = {"w-talc": "visual", "tian": "audio-visual"}.get(self.method, self.modality)
        if self.modality != needed:
            raise ValueError(f"model.method={self.method} needs model.modality={needed}, got {self.modality}")
        if self.grid_cells > 1 and self.method != "tian":
            raise ValueError(f"model.grid_cells is for model.method=tian, got model.method={self.method}")
        return self


class LossConfig(Options):
    """Eq. 6-10 and Appendix D."""

    mil_scores: Literal["open-max", "logits"] = "open-max"  # ours: paper silent; from logits alone μ learns nothing
    mil_background: Literal["never", "known", "always"] = "always"  # ours: videos with background in the target
    mil_background_weight: float = Field(
        0.5, gt=0, le=1000
    )  # ours: "always" only: weight of background; a true class has 1
    topk_divisor: int = Field(8, ge=1, le=MOST)  # W-TALC: k = max(1, ceil(L / 8))
    coactivity_weight: float = Field(0.8, ge=0, le=1000)  # paper §4.2; α
    coactivity_margin: float = Field(0.5, ge=0, le=1000)  # W-TALC; δ
    continuity_weight: float = Field(0.8, ge=0, le=1000)  # paper §4.2; β
    smooth_width: int = Field(4, ge=0, le=1000, multiple_of=2)  # paper §4.2; B, the window has B + 1 snippets
    smooth_sigma: float | None = Field(None, gt=0, le=1000)  # ours: paper silent; None is B / 4
    detach_smooth: bool = False  # ours: paper silent; True stops the gradient of the smoothed curves
    pseudo_weight: float = Field(1.0, ge=0, le=1000)  # paper §4.2; γ
    pseudo_labels: Literal["hard", "soft"] = "soft"  # ours: Eq. 9 has hard labels, above τ only
    pseudo_from_labels: bool = True  # ours: pseudo-labels only of the classes in the video's labels
    neighbors: int = Field(4, ge=0, le=1000, multiple_of=2)  # ours: paper silent; N, half on each side
    threshold: float = Field(0.9, ge=0, le=1)  # ours: paper silent; τ of hard pseudo-labels
    correction_weight: float = Field(1.0, ge=0, le=1000)  # ours: of the snippets known from corrections
    prior_weight: float = Field(
        0.0, ge=0, le=1
    )  # ours: share of the words' prior in pseudo-labels at step 0; falls to 0
    warmup: float = Field(0.0, ge=0, le=1)  # ours: share of the steps over which β and γ ramp in from 0


class TrainConfig(Options):
    """Optimiser, batches and model selection."""

    auto: list[Name] = Field(
        [], max_length=100
    )  # ours: settings still to be derived from the data; none in a run's configuration
    steps: int = Field(2000, ge=1, le=100 * MOST)  # ours: paper silent
    batch_size: int = Field(30, ge=1, le=MOST)  # paper §4.2
    learning_rate: float = Field(1e-4, gt=0, le=100)  # paper §4.2; Adam
    weight_decay: float = Field(0.0, ge=0, le=100)  # ours: paper silent; W-TALC has 5e-4
    grad_clip: float = Field(0.0, ge=0, le=1e9)  # ours: maximum gradient norm; 0 does not clip
    snippets: int | None = Field(200, ge=1, le=MOST)  # ours: L of a training video; None takes all
    pair_fraction: float = Field(0.6, ge=0, le=1)  # W-TALC: 3 pairs in a batch of 10
    holdout: float = Field(0.1, ge=0, lt=1)  # ours: share of train held out if no validation subset is named
    holdout_most: int = Field(500, ge=1, le=100 * MOST)  # ours: at most this many videos; one process validates them
    eval_every: int = Field(100, ge=1, le=100 * MOST)  # ours: steps between validations
    teacher_decay: float = Field(0.98, ge=0, lt=1)  # ours: moving average of the weights for pseudo-labels; 0: none
    selection: Literal["last", "video_ap", "mil"] = "video_ap"  # ours: on validation, by video-level labels only
    select_after: float = Field(0.5, ge=0, le=1)  # ours: share of the steps before selection starts
    patience: int = Field(
        0, ge=0, le=100 * MOST
    )  # ours: validations without a better score before training stops; 0: never
    correction_share: float = Field(0.25, ge=0, le=1)  # ours: least share of a batch drawn from corrected videos
    init_from: Name | None = None  # ours: a run whose weights training starts from; Table 7: with frozen_stages
    frozen_stages: int = Field(0, ge=0, le=64)  # Table 7: copy and freeze only that run's first stages and embeddings
    seed: int = Field(0, ge=0, lt=2**63)
    precision: Literal["32-true", "64-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    devices: int | None = Field(
        None, ge=1, le=10_000
    )  # processes on this machine; None: as the launcher says, else one
    num_nodes: int = Field(1, ge=1, le=10_000)

    @field_validator("auto")
    @classmethod
    def _derivable(cls, keys: list[str]) -> list[str]:
        if other := sorted(set(keys) - set(AUTOMATIC)):
            raise ValueError(f"expected some of {', '.join(AUTOMATIC)}, not {', '.join(other)}")
        return keys

    @model_validator(mode="after")
    def _frozen_stages_have_a_source(self) -> TrainConfig:
        if self.frozen_stages and self.init_from is None:
            raise ValueError("train.frozen_stages (the number of stages) and train.init_from (their run) go together")
        return self


class ActionsOptions(Options):
    """localize.decode=actions: the paper's thresholds (§4.2)."""

    class_gate: Literal["mean", "none"] = "mean"  # paper §4.2; keep classes scored above the mean over classes
    threshold_factor: float = Field(0.5, ge=0, le=1)  # W-TALC: max - 0.5 (max - min); its users report 0.7
    score_weight: float = Field(0.7, ge=0, le=1000)  # W-TALC: score = max in run + 0.7 video score
    smooth_snippets: int = Field(0, ge=0, le=10_000)  # ours: width of a running mean over the curves first; 0 is off


class ContrastOptions(Options):
    """localize.decode=contrast: our decoder. docs/decisions.md, Decoding, has the figures.

    Values were chosen or confirmed on training videos of two sets, each decoded by models that were not trained on it;
    boundaries of these videos were used.
    """

    class_share: float = Field(0.1, ge=0, le=1)  # ours: keep classes that reach this share of the best's score
    min_classes: int = Field(2, ge=1, le=MOST)  # ours: keep at least this many classes
    levels: int = Field(5, ge=1, le=100)  # ours: thresholds in each curve's own range, and as many in [0, 1]
    smooth_passes: int = Field(1, ge=0, le=1000)  # ours: 1/4 1/2 1/4 over the curves before they are cut
    outer_margin: float = Field(0.5, gt=0, le=100)  # ours: width of the margins, as a share of the length; AutoLoc 0.25
    outside_margin: float = Field(
        0.5, ge=0, le=1
    )  # ours: a margin outside the video counts as this share of the inside
    full_video_margin: float = Field(0.5, ge=0, le=1)  # ours: the same for a candidate that fills the video
    short_video_bonus: float = Field(
        12.0, ge=0, le=10_000
    )  # ours: its evidence gains this / snippets x the mean x flatness ...
    full_video_drop: float = Field(
        1.0, gt=0, le=1000
    )  # ours: ... where flatness is 1 - fall of the curve / this, at least 0
    video_weight: float = Field(
        0.0, ge=0, le=1000
    )  # ours: weight of the video score beside the contrast; it did not help
    contrast_slope: float = Field(8.0, gt=0, le=1000)  # ours: the contrast as logistic(slope (contrast - middle)) ...
    contrast_middle: float = Field(0.2, ge=-1000, le=1000)  # ours: ... for suppression
    nms_sigma: float = Field(0.3, gt=0, le=1000)  # ours: Soft-NMS has 0.5
    max_per_class: int = Field(1000, ge=1, le=MOST)  # ours: detections per class and video; for videos of hours
    calibration_slope: float = Field(
        1.47, gt=0, le=1000
    )  # ours: fitted on training videos, each from models without it
    calibration_offset: float = Field(
        -2.16, ge=-1000, le=1000
    )  # ours: with it, `python -m benchmarks.quality calibration`
    min_probability: float = Field(0.01, ge=0, le=1)  # ours: less probable detections are dropped


class LocalizeConfig(Options):
    """§4.2, localization at test time. Settings of one decoder are in the group of its name."""

    decode: Literal["actions", "events", "contrast"] = "contrast"  # ours; §4.2: "actions" thresholds, "events" argmax
    min_snippets: int = Field(2, ge=1, le=MOST)  # actions and contrast, W-TALC; shorter is dropped, unless the video is
    min_score: float = Field(0.0, ge=-1e9, le=1e9)  # ours: nothing is dropped by default
    min_duration_s: float = Field(0.0, ge=0, le=1e9)  # ours
    merge_gap_s: float = Field(0.0, ge=0, le=1e9)  # ours: same-class segments closer than this become one
    words_weight: float = Field(
        0.0, ge=0, le=1
    )  # ours: weight of the taggers' scores of the class names beside the network's, where the features are theirs
    window_snippets: int | None = Field(
        1024, ge=8, le=MOST
    )  # ours: longer videos go in overlapping windows; None never cuts
    actions: ActionsOptions = ActionsOptions()
    contrast: ContrastOptions = ContrastOptions()

    @model_validator(mode="before")
    @classmethod
    def _from_old_names(cls, settings: Any) -> Any:
        if not isinstance(settings, Mapping):
            return settings
        renamed = present_names({f"localize.{key}": value for key, value in settings.items()}, logging.INFO)
        keys = {key: key.removeprefix("localize.").partition(".") for key in renamed}
        tree = {group: renamed[key] for key, (group, _, name) in keys.items() if not name}
        for key, (group, _, name) in keys.items():
            given = tree.get(group, {})
            if name and isinstance(given, Mapping | Options):  # a present name wins over an old one
                tree[group] = {name: renamed[key], **dict(given)}
        return tree

    @model_validator(mode="after")
    def _merge_only_without_overlap(self) -> LocalizeConfig:
        if self.merge_gap_s and self.decode == "contrast":
            raise ValueError(
                "localize.merge_gap_s needs localize.decode=actions or events: detections of contrast overlap, and all "
                "of a class would become one"
            )
        return self


LIKELY = 0.3
"""Score from which a detection of decode=contrast, where scores are probabilities, counts as found."""


def likely_from(decode: str) -> float:
    """Score from which a detection counts as found: LIKELY, or 0 where scores are not probabilities.

    Weaker detections stay in the segments, for mAP and for a complete search, but are not named in videos.csv, not
    shown at first and not drawn. docs/decisions.md, Decoding, has the figures.
    """
    return LIKELY if decode in ("contrast", "multi") else 0.0  # runs of earlier versions say multi


MACHINE = frozenset({"accelerator", "devices", "num_nodes"})
"""Fields of TrainConfig that describe the hardware and do not change the result of a run."""


class RunConfig(Options):
    """All settings of a run. `avloc train --preset NAME --set section.key=value ...`"""

    extract: ExtractConfig = ExtractConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    localize: LocalizeConfig = LocalizeConfig()

    def to_yaml(self) -> str:
        """The resolved configuration, every field written out."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False)
