"""Settings of localization by prompts, without training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from avloc.config.options import ContrastOptions, ExtractConfig, LocalizeConfig, Options

Texts = Annotated[tuple[str, ...], Field(min_length=1)]


class ZeroShotConfig(Options):
    """From scores of prompts to class activations: docs/method.md, Prompts. Chosen on training videos of two sets.

    Settings of text towers (`templates`, `backgrounds`, `temperature`) were never measured: no such weights were here.
    """

    fusion: Literal["mean", "maximum", "noisy-or", "logits"] = "mean"  # ours: both modalities high > one high
    audio_middle: float = -2.0  # ours: log odds of a tagger's score of audio that count as one half
    visual_middle: float = 1.0  # ours: likewise for frames; of the share of the classes in the list, see tagging
    text_middle: float = 0.0  # ours: likewise for text towers: as likely as all background prompts together
    slope: float = Field(1.0, gt=0)  # ours: of the log odds around these middles
    smooth_passes: int = Field(0, ge=0)  # ours: 1/4 1/2 1/4 over the log odds of neighbours; the decoder smooths too
    video_power: float = Field(1.0, ge=0)  # ours: a snippet's score is multiplied by this power of the video's score
    topk_divisor: int = Field(8, ge=1)  # as loss.topk_divisor: a video's score is the mean of its top eighth
    visual_templates: Texts = ("a photo of {}.", "a video of {}.")  # after CLIP's prompts; ours: these two
    audio_templates: Texts = ("the sound of {}.", "this is a sound of {}.")  # after CLAP's; ours: these two
    visual_backgrounds: Texts = ("a photo.", "a photo of an empty scene.", "a photo of something else.")  # ours
    audio_backgrounds: Texts = ("silence.", "background noise.", "the sound of something else.")  # ours
    temperature: float | None = Field(None, gt=0)  # of text towers; None: the model's own, from its weights

    @property
    def tagger_middles(self) -> dict[str, float]:
        """{modality: log odds of a tagger's score that count as one half}."""
        return {"audio": self.audio_middle, "visual": self.visual_middle}

    @field_validator("visual_templates", "audio_templates")
    @classmethod
    def _with_a_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if lost := [text for text in templates if "{}" not in text]:
            raise ValueError(f"expected {{}} where the prompt goes in every template, not in {lost[0]!r}")
        return templates


class PromptConfig(Options):
    """All settings of `avloc localize --prompts`."""

    extract: ExtractConfig = ExtractConfig()
    zero_shot: ZeroShotConfig = ZeroShotConfig()
    localize: LocalizeConfig = LocalizeConfig(
        contrast=ContrastOptions(calibration_slope=1.94, calibration_offset=-2.12)  # ours: fitted on zero-shot scores
    )
