"""Apply a trained run to one video: `avloc.load("RUN").localize("video.mp4")`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avloc.config import ExtractConfig, LocalizeConfig, setting_names
from avloc.config.arguments import Count, checked
from avloc.errors import InputError, first_few
from avloc.features.backbones.network import find_device
from avloc.features.choose import require_here
from avloc.formats.failures import Failure
from avloc.media.find import as_path, path_list
from avloc.mediafile import BY_FLAGS, StreamChoice
from avloc.model.base import Model
from avloc.model.batch import Batch, Window, collate, windows
from avloc.model.checkpoint import ModelCard
from avloc.model.losses import topk_mean
from avloc.pipeline.activator import Activator, localize_video, run_card, video_features
from avloc.pipeline.checks import check_features, check_streams
from avloc.pipeline.hub import fetch_model, find_model, push, trusted_part
from avloc.pipeline.localization import Localization
from avloc.pipeline.published import About, load_published, save_published
from avloc.pipeline.settings import for_call
from avloc.pipeline.settings import with_options as with_options
from avloc.pipeline.words import WordMix, word_mix
from avloc.system.text import pluralize
from avloc.types import ActivationSequence, FeatureSequence, Progress

if TYPE_CHECKING:
    from avloc.pipeline.suggest import Suggestions


class Localizer(Activator):
    """A trained model with its decoding options.

    Args:
        model, card: as `checkpoint.load_model` returns them.
        options: how activations become detections; None for those of the run.
        device: as in `load`.
        streams: to use of video files. Those that the run was trained on do not count: the choice belongs to a file.
        home: the folder that the model was loaded from, whose record a published model quotes.
        allow_download: fetch the weights of the model's backbones if they are not on this machine.
    """

    @checked()
    def __init__(
        self,
        model: Model,
        card: ModelCard,
        options: LocalizeConfig | None = None,
        device: str = "cpu",
        streams: StreamChoice = BY_FLAGS,
        home: Path | None = None,
        allow_download: bool = False,
    ) -> None:
        check_streams(streams)
        self.allow_download = allow_download
        self.device = str(find_device(device))
        self.model, self.card, self.streams, self.home = model.to(self.device).eval(), card, streams, home
        self.options, self.classes = options or card.config.localize, card.classes

    def __repr__(self) -> str:
        made = ", ".join(f"{name} {self.card.backbones.get(name, 'features')}" for name in self.model.embeds)
        step = float(self.card.config.extract.step)
        return (
            f"<Localizer of {pluralize(len(self.classes), 'class')} ({first_few(self.classes, 6)}) from {made}, "
            f"{step:g} s per snippet, on {self.device}>"
        )

    @checked(partial(setting_names, "localize"))
    def localize(
        self, video: str | Path | FeatureSequence, min_score: float | None = None, **options: Any
    ) -> Localization:
        """Find the actions in a video file, feature file or FeatureSequence.

        Args:
            min_score: drop detections with a lower score; None: as the run says, which by default drops none.
            options: other settings of `localize.*` for this call, such as min_duration_s=1, decode="actions" or
                **{"contrast.min_classes": 3} (docs/config.md).

        Raises:
            MediaError, FormatError: it cannot be read. InputError: there is no such file, or it lacks the modalities or
            features of the model. ConfigError: an unknown option (similar ones are named), or a value out of range.
        """
        return localize_video(for_call(self, min_score, options), video)

    @checked()
    def suggest(
        self,
        inputs: Sequence[str | Path] | str | Path,
        count: Count = 10,
        corrections: Sequence[str | Path] | str | Path = (),
        labels: str | Path | None = None,
    ) -> Suggestions:
        """The videos whose correction should teach this run most; arguments and errors as `pipeline.suggest.suggest`.

        >>> avloc.load("RUN").suggest(["features/"], corrections=["corrections.json"])  # doctest: +SKIP
        """
        from avloc.pipeline.suggest import suggest

        table = None if labels is None else as_path(labels)
        return suggest(self, path_list(inputs), count, path_list(corrections), table)

    @checked(partial(setting_names, "localize"))
    def localize_many(
        self,
        videos: Iterable[str | Path] | str | Path,
        workers: Count = 1,
        min_score: float | None = None,
        progress: Progress | None = None,
        in_order: bool = False,
        **options: Any,
    ) -> Iterator[Localization | Failure]:
        """Localize many videos or feature files, and yield each result as soon as it is there.

            for result in localizer.localize_many(["videos/"], workers=2):
                if isinstance(result, avloc.Failure):
                    print(result.path, result.reason)

        Two or more videos are decoded in processes of their own, where a file that crashes or hangs the decoder costs
        only itself. Closing the generator ends the processes.

        Args:
            videos: files, folders and globs; in a folder with feature files, only those.
            workers: processes that decode videos.
            min_score, options: as in `localize`.
            progress: called with (files done, files, name of the last one); during a download of weights, with kB and
                the name of the file.
            in_order: yield in the order of the files, not as they finish.

        Yields:
            A Localization, or a Failure (video_id, path, reason) for a file that cannot be localized.

        Raises, before the first result:
            InputError: a path does not exist, or there is no video. ConfigError: an unknown option, or a value out of
            range.
        """
        from avloc.pipeline.many import localize_files

        return localize_files(for_call(self, min_score, options), videos, workers, progress, in_order)

    @checked()
    def export(self, path: str | Path, to: str | None = None) -> float:
        """Write the network as a graph for other programs: .pt2 (torch.export) or .onnx. `model.export` says what goes
        in and comes out.

        Args:
            to: "pt2" or "onnx"; None: by the suffix of `path`.

        Returns:
            The largest difference between the file, read back, and the model.

        Raises:
            ConfigError, InputError: as `model.export.export_model`.
        """
        from avloc.model.export import export_model

        card = replace(self.card, config=self.card.config.model_copy(update={"localize": self.options}))
        return export_model(self.model, card, as_path(path), to)

    @checked()
    def save_pretrained(self, folder: str | Path, about: About = About(), overwrite: bool = False) -> list[str]:  # noqa: B008
        """Write model.safetensors, config.json and a model card; `load` and `from_pretrained` read them back.

        Args:
            about: what the model card says: About(title=..., licence=..., scores=..., notes=...).
            overwrite: also replace a model card that differs.

        Returns, raises: as `pipeline.published.save_published`.
        """
        return save_published(self, as_path(folder), about, overwrite)

    @checked()
    def push_to_hub(
        self,
        repo_id: str,
        about: About = About(),  # noqa: B008
        *,
        commit_message: str = "Publish with avloc",
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
    ) -> str:
        """Publish to the Hugging Face hub as "owner/name". Returns the URL of the commit.

        Args:
            about: as in `save_pretrained`.
            commit_message, private, token, branch, create_pr: as of huggingface_hub's ModelHubMixin.push_to_hub.

        Raises:
            InputError: huggingface_hub is not installed, or the hub refuses.
        """
        options = {"private": private, "token": token, "branch": branch, "create_pr": create_pr}
        return push(self, repo_id, about, commit_message=commit_message, **options)

    @classmethod
    @checked()
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        device: str = "auto",
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> Localizer:
        """`load`, in the hub's convention.

        Args:
            token, cache_dir, force_download, local_files_only: as of huggingface_hub's ModelHubMixin.from_pretrained.

        Raises:
            As `load`.
        """
        path = as_path(pretrained_model_name_or_path)
        chosen = str(find_device(device))
        if path.exists():
            return _loaded(path, False, chosen)
        options = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        return _loaded(fetch_model(path.as_posix(), revision, force_download=force_download, **options), True, chosen)

    @checked()
    def can_use(self, features: FeatureSequence) -> bool:
        """Whether a video has a modality that the model uses."""
        return self.card.config.model.modality in ("audio-visual", *features.modalities)

    @checked()
    def features(self, path: str | Path) -> FeatureSequence:
        """Features of a .safetensors file, or of a video, extracted as in training."""
        return video_features(self, path)

    @cached_property
    def extraction(self) -> ExtractConfig:
        """Options to extract features as in training, only of the modalities that the model uses.

        Raises:
            InputError: the weights of a backbone are not on this machine, and `allow_download` is not set.
        """
        used = self.model.embeds
        wanted = {name: self.card.backbones.get(name) if name in used else None for name in ("visual", "audio")}
        streams = {"video_stream": self.streams.video, "audio_stream": self.streams.audio}
        options = self.card.config.extract.model_copy(update={**wanted, **streams, "device": self.device})
        require_here(options, self.allow_download)
        return options

    def run_card(self) -> dict[str, object]:
        """Content of run.yaml beside the detections."""
        config = {**self.card.config.model_dump(), "localize": self.options.model_dump()}
        return run_card(self.classes, self.card.backbones, config, step=self.card.step)

    @cached_property
    def words(self) -> WordMix | None:
        """Class names as prompts, `localize.words_weight`; errors as `pipeline.words.word_mix`."""
        return word_mix(self.card, self.options.words_weight, set(self.model.embeds), self.allow_download)

    def check(self) -> None:
        _ = self.words

    @torch.no_grad()
    def activations(self, features: FeatureSequence) -> ActivationSequence:
        """Class activations of a video (Eq. 5), in windows if it is long (`localize.window_snippets`).

        Mixed with the taggers' scores of the class names if `localize.words_weight` is not 0.
        """
        cuts = windows(features.grid.count, self.options.window_snippets)
        probs = torch.cat([self._probs(features, cut) for cut in cuts])
        if self.words is not None:
            probs = torch.from_numpy(self.words(probs.double().cpu().numpy(), features))
        everywhere = torch.ones(1, len(probs), dtype=torch.bool, device=probs.device)
        scores = topk_mean(probs[None], everywhere, self.card.config.loss.topk_divisor)[0, 1:]
        return ActivationSequence(
            features.video_id,
            features.duration_s,
            features.grid,
            self.classes,
            probs.double().cpu().numpy(),
            scores.double().cpu().numpy(),
            tuple(name for name in features.modalities if name in self.model.embeds),
        )

    def _probs(self, features: FeatureSequence, cut: Window) -> Float[Tensor, "l c1"]:
        """p of the kept snippets of a window."""
        batch = self.batch(features, cut.first, cut.stop)
        return self.model(batch).probs[0, cut.keep_first - cut.first : cut.keep_stop - cut.first]

    def batch(self, features: FeatureSequence, first: int, stop: int) -> Batch:
        """Snippets first..stop of a video as a batch of one, on the model's device.

        Raises:
            InputError: the features differ from the run's in backbone, size or step, or lack the model's modality.
        """
        check_features(features, self.card, tuple(self.model.embeds))
        rows, unlabelled = np.arange(first, stop), np.zeros((1, len(self.classes)))
        batch = collate([(features, rows)], unlabelled, self.card.audio_size, self.card.visual_size).to(self.device)
        if not self.model.usable(batch.present).all():
            raise InputError(
                f"{features.video_id}: has only {' and '.join(features.modalities)}; the model needs "
                f"{self.card.config.model.modality}"
            )
        return batch


@checked()
def load(
    run: str | Path,
    device: str = "auto",
    streams: StreamChoice = BY_FLAGS,
    *,
    checksum: bool = True,
    allow_download: bool = False,
) -> Localizer:
    """A trained run or a published model, ready to localize.

    Args:
        run: a run folder, a folder of `avloc publish`, a model.safetensors, or the name of a model on the Hugging Face
            hub, "owner/name" or "owner/name@revision". What exists on this machine comes first. Nothing in any of them
            is executed.
        device: of the model and of the backbones: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
        streams: to use of video files, such as StreamChoice(audio=2).
        checksum: as in `checkpoint.load_model`.
        allow_download: fetch the weights of the backbones that the model names, if they are not on this machine.

    Raises:
        InputError: there is no such run or model. FormatError: it is damaged. ConfigError: there is no such device.
    """
    chosen = str(find_device(device))  # before a download
    path, foreign = find_model(as_path(run))
    return _loaded(path, foreign, chosen, streams, checksum, allow_download)


def _loaded(
    path: Path, foreign: bool, device: str, streams: StreamChoice = BY_FLAGS, checksum: bool = True, fetch: bool = False
) -> Localizer:
    model, card = load_published(path, checksum)
    home = path.parent if path.suffix == ".safetensors" else path
    return Localizer(model, trusted_part(card) if foreign else card, None, device, streams, home, fetch)
