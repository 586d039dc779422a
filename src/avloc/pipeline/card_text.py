"""README.md of a published model: what it finds, what it was trained on, scores, limits, use, licences."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from avloc.errors import InputError, one_line
from avloc.features.backbones import card as backbone_card
from avloc.model.checkpoint import ModelCard
from avloc.system.text import pluralize
from avloc.version import __version__

if TYPE_CHECKING:
    from avloc.pipeline.published import About

_TAGS = ("avloc", "video", "audio", "temporal-action-localization", "sound-event-detection", "weakly-supervised")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>|#&!~$])")
_LISTED = 200


def card_text(card: ModelCard, about: About, facts: Mapping[str, int]) -> str:
    """The model card in Markdown, with front matter.

    Args:
        facts: "train_videos" and "validation_videos", as far as known.
    """
    front = {"license": about.licence, "library_name": "avloc", "tags": list(_TAGS)}
    title = about.title or f"Temporal localization of {pluralize(len(card.classes), 'class')} in videos"
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {plain(title)}",
        f"Finds when these {pluralize(len(card.classes), 'class')} happen in untrimmed videos, {_senses(card)}. "
        f"Trained with avloc {__version__} on video-level labels alone.",
        "## Classes\n\n" + _classes(card.classes),
        "## Training\n\n" + "\n".join(f"- {line}" for line in _training(card, facts)),
        "## Backbones\n\n" + _backbones(card),
        "## Scores\n\n" + _scores(about.scores),
        "## Limits\n\n" + "\n".join(f"- {line}" for line in _limits(card)),
        "## Use\n\n" + _use(about.name),
        f"## Licence\n\nWeights: {plain(about.licence)}. Backbones: see above. avloc: Apache-2.0.",
    ]
    if about.notes:
        parts.insert(3, plain(about.notes))
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """A name as text on one line of Markdown, whatever it contains."""
    return _MARKUP.sub(r"\\\1", one_line(text))


def _senses(card: ModelCard) -> str:
    return {"audio": "by audio", "visual": "by frames"}.get(card.config.model.modality, "by frames and audio")


def _classes(names: tuple[str, ...]) -> str:
    more = f", and {len(names) - _LISTED} more (config.json)" if len(names) > _LISTED else ""
    return ", ".join(map(plain, names[:_LISTED])) + more


def _training(card: ModelCard, facts: Mapping[str, int]) -> list[str]:
    model, train = card.config.model, card.config.train
    known = "train_videos" in facts
    videos = pluralize(facts["train_videos"], "video") if known else "number not recorded"
    held = f", and {facts.get('validation_videos', 0)} for model selection" if known else ""
    weight = card.config.localize.words_weight
    words = [f"answer: what these backbones' classifiers say of the class names counts {weight:g}"] if weight else []
    method = {"avloc": "cross-attentional audio-visual fusion (Lee et al., ICLR 2021)"}.get(model.method, model.method)
    return [
        f"videos: {videos}{held}; supervision: which classes each video has, no times",
        f"method: {method}, modality {model.modality}, {model.num_stages} stages, d\\_x {model.embed_dim}",
        f"{card.step} of {train.steps} steps, seed {train.seed}; all settings are in config.json",
        *words,
    ]


def _backbones(card: ModelCard) -> str:
    rows = ["| modality | backbone | version | channels | licence |", "|---|---|---|---|---|"]
    sizes = {"visual": card.visual_size, "audio": card.audio_size}
    for modality, size in sizes.items():
        name = card.backbones.get(modality)
        if name is None and not size:
            continue
        version = card.versions.get(modality, "1")
        rows.append(f"| {modality} | {plain(name or 'not recorded')} | {plain(version)} | {size} | {_licence(name)} |")
    step = float(card.config.extract.step)
    return (
        "\n".join(rows) + f"\n\nOne snippet is {step:g} s. avloc extracts the features of new videos in the same way."
    )


def _licence(name: str | None) -> str:
    try:
        return plain(backbone_card(name).licence) if name else "unknown"
    except InputError:
        return "unknown"


def _scores(scores: Mapping[str, Any]) -> str:
    if not scores:
        return "Not evaluated against ground truth."
    numbers = {"average mAP": scores.get("average_map"), "mAP@0.5": _at(scores.get("map"), "0.50")}
    numbers |= {"whole-video baseline, average mAP": scores.get("trivial_average_map")}
    numbers |= {"snippet accuracy": scores.get("snippet_accuracy"), "event F1": scores.get("event_f1")}
    rows = [f"| {name} | {100 * value:.1f} |" for name, value in numbers.items() if isinstance(value, int | float)]
    subsets = scores.get("subsets")
    of = f" ({', '.join(map(str, subsets))})" if isinstance(subsets, list) and subsets else ""
    on = f"Percent, protocol {scores.get('protocol', 'unknown')}, on {scores.get('videos', 'an unknown number of')} "
    return plain(f"{on}videos{of}.") + "\n\n| | |\n|---|---|\n" + "\n".join(rows)


def _at(scores: Any, threshold: str) -> Any:
    return scores.get(threshold) if isinstance(scores, Mapping) else None


def _limits(card: ModelCard) -> list[str]:
    decode = card.config.localize.decode
    calibrated = "are probabilities calibrated on other data sets" if decode == "contrast" else "are no probabilities"
    return [
        "It knows these classes only, and was not tested on videos unlike those it was trained on.",
        f"Boundaries are as fine as a snippet, {float(card.config.extract.step):g} s, at best: it never saw times.",
        f"Scores {calibrated}; check them on your videos before you rely on a threshold.",
        "It does not recognise people and is no basis for decisions about them.",
    ]


def _use(name: str) -> str:
    placeholder = "" if name != "OWNER/NAME" else "OWNER/NAME is its name on the hub, or the path of this folder. "
    return f"""    pip install 'avloc[all]'
    avloc localize {name} videos/ -o detections

```python
import avloc

result = avloc.load("{name}").localize("video.mp4")
print(result.to_dataframe(min_score=0.3))
```

{placeholder}Loading executes nothing from it."""
