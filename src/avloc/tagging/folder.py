"""Tag many videos. `avloc.tag(["videos/"], ["dog", "rain"])`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from avloc.config import preset
from avloc.config.arguments import Count, checked
from avloc.errors import AvlocError, InputError, first_few
from avloc.features.choose import without_auto
from avloc.features.folder import extract_all
from avloc.features.layout import split_features
from avloc.features.manifest import extracted_from
from avloc.formats.failures import Failure
from avloc.formats.features import load_features
from avloc.formats.results import find_results
from avloc.formats.tags import TagRow
from avloc.media.find import as_path, find_media, known_suffix, name_videos, path_list
from avloc.system.scratch import scratch_folder
from avloc.system.text import nfc, pluralize, readable
from avloc.tagging.classes import SENSES
from avloc.tagging.evidence import AUDIO_S, LIKELY, Evidence, find_evidence
from avloc.tagging.heads import TAGGERS, load_taggers, remedy
from avloc.tagging.tags import MAYBE, Tag, every_concept, find_tags, telling_words
from avloc.tagging.vocabulary import Concept, Vocabulary, map_words, read_vocabulary
from avloc.types import Detection, FeatureSequence, Progress

MOST = 30
"""Tags of a folder if no words are given."""


@dataclass(frozen=True)
class VideoTags:
    """Tags of one video, the most likely first, down to a score of `tags.MAYBE`, or of the drafts if that is lower.

    Args:
        path: of the video file; None if unknown.
    """

    video_id: str
    duration_s: float
    tags: tuple[Tag, ...]
    path: Path | None = None


@dataclass(frozen=True)
class TaggedVideos:
    """Result of `tag`.

    Args:
        concepts: the words used, and their classes.
        min_score: from which a tag is a draft label.
        notes: words that map to nothing, videos without audio or frames, ...
    """

    videos: tuple[VideoTags, ...]
    concepts: tuple[Concept, ...]
    min_score: float
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """{word: number of videos with it as a draft label}, the most frequent first."""
        found = {concept.word: 0 for concept in self.concepts}
        for video in self.videos:
            for tag in video.tags:
                found[tag.label] += tag.score >= self.min_score
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def rows(self) -> list[TagRow]:
        """The table of `formats.tags`: drafts with keep=yes, less likely ones with keep=no."""
        rows = []
        for video in self.videos:
            path = "" if video.path is None else readable(video.path.absolute())
            name = video.video_id + ("" if video.path is None else known_suffix(video.path))
            for t in video.tags:
                kept = t.score >= self.min_score
                rows.append(TagRow(name, t.label, kept, t.score, t.start_s, t.end_s, t.sense, path))
            if not video.tags:
                rows.append(TagRow(name, "", path=path))
        return rows


@checked()
def tag(
    videos: Iterable[str | Path] | str | Path,
    words: Iterable[str] | None = None,
    vocabulary: Path | str | None = None,
    *,
    features: str | Path | None = None,
    outside: str | Path | None = None,
    min_score: float = LIKELY,
    most: Count = MOST,
    weights: Mapping[str, str] | None = None,
    workers: Count = 1,
    progress: Progress | None = None,
) -> TaggedVideos:
    """Draft labels of videos, from pretrained taggers. A video that fails is recorded, the rest continues.

    Args:
        videos: files, folders, globs; or features of `avloc extract`: files, or a folder of them.
        words: what to look for; None takes the words of `vocabulary`, without one the most telling tags of the videos.
        vocabulary: a table of words and classes, see `vocabulary.read_vocabulary`.
        features: folder that keeps the features of videos; deleted afterwards if None.
        outside: a result of `avloc localize`: look only where nothing was found in it.
        min_score: probability from which a tag is a draft label.
        most: number of tags if there are neither words nor vocabulary.
        weights: {NAME: path} of weight files. workers: processes that decode.

    Raises:
        InputError: no video, no word that maps to a class, weights missing, or every video failed.
        FormatError: `vocabulary` is malformed.
    """
    if not 0 < min_score <= 1:
        raise InputError(
            f"min_score: the lowest score of a draft is a probability above 0 and at most 1, got {min_score:g}"
        )
    known = read_vocabulary(vocabulary) if vocabulary is not None else None
    asked, least = words is not None or known is not None, min(MAYBE, min_score)
    concepts, notes = _concepts(words, known)
    found = None if outside is None else _detections(as_path(outside))
    tagged: list[VideoTags] = []
    seen: set[str] = set()
    with feature_files(
        path_list(videos), None if features is None else as_path(features), weights, workers, progress
    ) as files:
        failures = list(files.failures)
        for k, (path, source) in enumerate(files.paths.items()):
            try:
                stored = load_features(path)
                if stored.video_id in seen:
                    raise InputError(f"{path}: has the video id {stored.video_id}, as an earlier one does; rename one")
                seen.add(stored.video_id)
                tagged.append(_tag_video(stored, concepts, source, found, weights, notes, least, asked))
            except AvlocError as error:
                failures.append(Failure(path.stem, str(source or path), str(error)))
            if progress is not None:
                progress(k + 1, len(files.paths), path.stem)
    require_tagged(len(tagged), failures)
    if not asked:
        concepts, tagged = _most_telling(tagged, concepts, most, min_score)
    return TaggedVideos(tuple(tagged), tuple(concepts), min_score, tuple(failures), tuple(_merged(notes)))


def require_tagged(count: int, failures: Sequence[Failure]) -> None:
    """Raise InputError if no video could be tagged."""
    if not count:
        reason = f", first: {failures[0].reason}" if failures else ""
        raise InputError(f"none of {pluralize(len(failures), 'video')} could be tagged{reason}")


@dataclass(frozen=True)
class FeatureFiles:
    """Feature files and the video of each, if known; and videos that could not be extracted."""

    paths: Mapping[Path, Path | None]
    failures: tuple[Failure, ...] = ()


@contextmanager
def feature_files(
    videos: Sequence[str | Path] | str | Path,
    keep: Path | None = None,
    weights: Mapping[str, str] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Iterator[FeatureFiles]:
    """Feature files of the inputs of `tag`; videos are extracted first, to `keep` or to a temporary folder.

    Raises:
        InputError: no video, or none of the taggers' backbones is there.
    """
    stored, rest = split_features([videos] if isinstance(videos, str | Path) else videos)
    made = extracted_from(stored)
    files = {file: _video_of(file, made) for file in stored}
    if not rest:
        yield FeatureFiles(files)
        return
    options = without_auto(preset("default", {"extract.weights": dict(weights or {})}).extract, keep)
    if not any(getattr(options, sense) in TAGGERS[sense] for sense in SENSES):
        raise InputError(f"none of the pretrained taggers is there; get them with: {remedy()}")
    paths = find_media(rest)
    names = name_videos(paths)
    with scratch_folder("avloc-tag-") as folder:
        home = keep or folder
        summary = extract_all(paths, home, options, workers, progress=progress)
        by_name = {names(path): path for path in paths}
        done = {home / f"{video}.safetensors": by_name[video] for video in sorted((*summary.done, *summary.skipped))}
        yield FeatureFiles(files | done, summary.failures)


def _video_of(file: Path, made: Mapping[str, Path]) -> Path | None:
    """The video of a feature file: by its name, or that with the folders before it."""
    parts = file.with_suffix("").parts
    return next((made[name] for k in (1, 2, 3) if (name := nfc("/".join(parts[-k:]))) in made), None)


def _concepts(
    words: Iterable[str] | None, known: Vocabulary | None
) -> tuple[tuple[Concept, ...], dict[str, list[str]]]:
    """Concepts to look for, and the notes so far: {note: videos it is about}."""
    if words is None and known is None:
        return every_concept(), {}
    mapped = map_words(known.words if words is None and known is not None else words or (), known)
    notes = [*(known.notes if known is not None else ()), *mapped.notes()]
    return mapped.concepts, {note: [] for note in notes}


def _detections(outside: Path) -> Mapping[str, Sequence[Detection]]:
    """{video: detections that count as found}, of every video in a result."""
    run = find_results(outside).read().likely()
    return {video: run.detections.get(video, ()) for video in run.videos()}


def _tag_video(
    features: FeatureSequence,
    concepts: Sequence[Concept],
    path: Path | None,
    found: Mapping[str, Sequence[Detection]] | None,
    weights: Mapping[str, str] | None,
    notes: dict[str, list[str]],
    least: float,
    asked: bool,
) -> VideoTags:
    reasons: dict[str, str] = {}
    taggers = load_taggers(features, weights, reasons)
    for sense, reason in reasons.items():
        told = "frames were not tagged" if sense == "visual" else "audio was not tagged"
        notes.setdefault(f"{told}: {reason}", []).append(features.video_id)
    evidence = find_evidence(features, concepts, taggers)
    if found is not None and features.video_id not in found:
        notes.setdefault("not in the detections of --outside: tagged as a whole", []).append(features.video_id)
    inside = None if found is None else _uncovered(evidence, found.get(features.video_id, ()))
    return VideoTags(features.video_id, features.duration_s, find_tags(evidence, least, inside, asked), path)


def _uncovered(evidence: Evidence, found: Sequence[Detection]) -> Bool[np.ndarray, " l"]:
    """Snippets so far from every detection that the audio of none is in their scores."""
    free = np.ones(evidence.grid.count, bool)
    for d in found:
        free[evidence.grid.indices(d.start_s - AUDIO_S / 2, d.end_s + AUDIO_S / 2)] = False
    return free


def _most_telling(
    videos: Sequence[VideoTags], concepts: Sequence[Concept], most: int, likely: float
) -> tuple[tuple[Concept, ...], list[VideoTags]]:
    scores = [{t.label: t.score for t in video.tags} for video in videos]
    words = telling_words(scores, concepts, most, likely)
    chosen = {concept.word: concept for concept in concepts if concept.word in words}
    kept = [VideoTags(v.video_id, v.duration_s, tuple(t for t in v.tags if t.label in chosen), v.path) for v in videos]
    return tuple(chosen[word] for word in words), kept


def _merged(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """One line per note, with the first videos that it is about."""
    return [
        note if not of else f"{pluralize(len(of), 'video')} ({first_few(of, 3)}): {note}" for note, of in notes.items()
    ]
