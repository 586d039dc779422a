"""Hugging Face model families that `hub.py` runs: data only, so that listing them imports nothing heavy.

Sizes and licences are those of the default repository; others of the same family, such as
`clip:openai/clip-vit-large-patch14`, may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class Family:
    """Input and output of a family of models.

    Args:
        model: class in transformers.
        repository: default repository on the hub.
        size: output channels of the default repository.
        output: which tensor is the feature. "tokens" is the mean over the last layer's tokens, "rows" the tokens of an
            audio model in order of time (see hub_audio.py), anything else an output of the model.
        types: accepted values of `model_type` in config.json.
        part: prefixes of the weights that are used; the others (text towers) are not loaded.
        frame_rate: of image models, whose features are averaged over the snippet.
        frames: clip length of video models.
        resize: "crop" (short side to `side`, then a centre crop to the model's input size) or "squash".
        side: short side before the crop, relative to the model's input size.
        pixels: input size, if config.json does not have it.
        normalize: mean and standard deviation per channel.
        rate_hz: sample rate of audio models.
        extractor: front end of audio models in transformers.
        needs: modules it needs besides transformers.
        gated: whether the hub asks to accept the licence before the download.
    """

    model: str
    repository: str
    size: int
    licence: str
    output: str
    types: tuple[str, ...]
    part: tuple[str, ...] = ("",)
    frame_rate: Fraction | None = None
    frames: int | None = None
    resize: str = "crop"
    side: Fraction = Fraction(1)
    pixels: int = 0
    normalize: tuple[tuple[float, float, float], tuple[float, float, float]] = IMAGENET
    rate_hz: int = 0
    extractor: str = ""
    needs: tuple[str, ...] = ()
    gated: bool = False

    @property
    def modality(self) -> str:
        """ "visual" or "audio"."""
        return "audio" if self.rate_hz else "visual"


_IMAGE_RATE = Fraction(4)  # ours: fps for image models
_SIGLIP_TYPES = ("siglip", "siglip_vision_model")

FAMILIES: dict[str, Family] = {
    "clip": Family(
        *("CLIPVisionModelWithProjection", "openai/clip-vit-base-patch32", 512, "MIT", "image_embeds"),
        types=("clip", "clip_vision_model"),
        frame_rate=_IMAGE_RATE,
        normalize=OPENAI,
    ),
    "siglip": Family(
        *("SiglipVisionModel", "google/siglip-base-patch16-224", 768, "Apache-2.0", "pooler_output"),
        types=_SIGLIP_TYPES,
        frame_rate=_IMAGE_RATE,
        resize="squash",
        normalize=HALF,
    ),
    "siglip2": Family(  # the models of fixed resolution have SigLIP's architecture; those named "naflex" do not
        *("SiglipVisionModel", "google/siglip2-base-patch16-224", 768, "Apache-2.0", "pooler_output"),
        types=_SIGLIP_TYPES,
        frame_rate=_IMAGE_RATE,
        resize="squash",
        normalize=HALF,
    ),
    "dinov2": Family(
        *("Dinov2Model", "facebook/dinov2-base", 768, "Apache-2.0", "pooler_output"),
        types=("dinov2",),
        frame_rate=_IMAGE_RATE,
        side=Fraction(256, 224),
    ),
    "dinov3": Family(
        *("DINOv3ViTModel", "facebook/dinov3-vitb16-pretrain-lvd1689m", 768, "DINOv3 (gated)", "pooler_output"),
        types=("dinov3_vit",),
        frame_rate=_IMAGE_RATE,
        resize="squash",
        gated=True,
    ),
    "videomae": Family(
        *("VideoMAEModel", "MCG-NJU/videomae-base-finetuned-kinetics", 768, "CC-BY-NC-4.0", "tokens"),
        types=("videomae",),
        frames=16,
    ),
    "vjepa2": Family(
        *("VJEPA2Model", "facebook/vjepa2-vitl-fpc64-256", 1024, "MIT", "tokens"),
        types=("vjepa2",),
        frames=16,
        side=Fraction(256, 224),
    ),
    "pe-av": Family(  # the video tower of the audio-video model, in the space that it shares with text and audio
        *("PeVideoModel", "facebook/pe-av-small-16-frame", 1024, "Apache-2.0", "video_embeds"),
        types=("pe_audio_video",),
        part=("video_encoder.", "video_head."),
        frames=16,
        resize="squash",
        pixels=336,
        normalize=HALF,
        needs=("timm", "torchvision"),
    ),
    "ast": Family(
        *("ASTModel", "MIT/ast-finetuned-audioset-10-10-0.4593", 768, "BSD-3-Clause", "rows"),
        types=("audio-spectrogram-transformer",),
        rate_hz=16_000,
        extractor="ASTFeatureExtractor",
    ),
    "clap": Family(
        *("ClapAudioModelWithProjection", "laion/clap-htsat-unfused", 512, "Apache-2.0", "rows"),
        types=("clap", "clap_audio_model"),
        rate_hz=48_000,
        extractor="ClapFeatureExtractor",
    ),
    "pe-a-frame": Family(
        *("PeAudioFrameLevelModel", "facebook/pe-a-frame-small", 1024, "Apache-2.0", "rows"),
        types=("pe_audio",),
        part=("audio_encoder.", "audio_head."),
        rate_hz=48_000,
        extractor="PeAudioFeatureExtractor",
    ),
}
