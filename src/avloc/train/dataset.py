"""Weakly labelled videos as batches: which videos, and which of their snippets.

All sampling is a function of (seed, step), so it does not depend on resuming or on the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from avloc.formats.corrections import VideoCorrections
from avloc.model.batch import Batch, collate
from avloc.train.corrections import snippet_truth
from avloc.types import FeatureSequence

Prior = Callable[[FeatureSequence, Float[np.ndarray, " c"]], Float[np.ndarray, "l c1"]]
"""(features, labels of the video) -> r of every snippet; all 0 for a video without a prior."""


def bin_sample(length: int, count: int | None, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """One random snippet from each of `count` bins of almost equal size; all snippets if there are at most `count`."""
    if count is None or length <= count:
        return np.arange(length)
    edges = np.linspace(0, length, count + 1).astype(np.int64)
    return rng.integers(edges[:-1], edges[1:])


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and standard deviation of each channel over a set's snippets; None if it lacks the modality."""

    audio: tuple[np.ndarray, np.ndarray] | None
    visual: tuple[np.ndarray, np.ndarray] | None


class WeakDataset:
    """Videos with labels; features are loaded on demand and cached.

    Args:
        ids: n video ids.
        labels: (n, C) 0/1.
        classes: C names.
        corrections: {video id: what is known about its snippets}.
        load: video id -> features; called for videos that are not in the cache.
        audio_size, visual_size: d_u and d_v; 0 if the set lacks the modality.
        prior (attribute): makes r of the pseudo-labels (`losses.with_prior`) from features and labels; None for none.
        cache_bytes: size of the cache. Other videos are read each time they are drawn, which the page cache makes
            cheap. Half a GiB holds all of AVE, and training on ActivityNet stays well under 3 GB.
    """

    def __init__(
        self,
        ids: Sequence[str],
        labels: Float[np.ndarray, "n c"],
        classes: Sequence[str],
        load: Callable[[str], FeatureSequence],
        audio_size: int,
        visual_size: int,
        cache_bytes: int = 1 << 29,
        corrections: Mapping[str, VideoCorrections] | None = None,
    ) -> None:
        self.ids, self.labels, self.classes = list(ids), labels, tuple(classes)
        self.audio_size, self.visual_size = audio_size, visual_size
        self._load, self._room = load, cache_bytes
        self._cache: dict[str, FeatureSequence] = {}
        self.corrections = dict(corrections or {})
        self._truths: dict[str, Float[np.ndarray, "l c1"]] = {}
        self.prior: Prior | None = None
        self._priors: dict[int, Float[np.ndarray, "l c1"]] = {}

    @property
    def corrected(self) -> Int[np.ndarray, " k"]:
        """Indices of the corrected videos."""
        return np.flatnonzero([name in self.corrections for name in self.ids])

    def truth(self, index: int) -> Float[np.ndarray, "l c1"] | None:
        """Targets of the snippets of a corrected video (`snippet_truth`)."""
        name = self.ids[index]
        if name not in self.corrections:
            return None
        if name not in self._truths:
            features = self.features(index)
            made = snippet_truth(self.corrections[name], features.grid, features.duration_s, self.classes)
            self._truths[name] = made.astype(np.float32)
        return self._truths[name]

    def __len__(self) -> int:
        return len(self.ids)

    def features(self, index: int) -> FeatureSequence:
        """Features of one video."""
        name = self.ids[index]
        if name in self._cache:
            return self._cache[name]
        features = self._load(name)
        size = sum(rows.nbytes for rows in (features.audio, features.visual) if rows is not None)
        if size <= self._room:
            self._room -= size
            self._cache[name] = features
        return features

    def batch(self, indices: Int[np.ndarray, " b"], snippets: int | None = None, seed: Sequence[int] = (0,)) -> Batch:
        """A batch of videos, with at most `snippets` of each, sampled by `seed` and the video's index."""
        chosen = []
        truths = [self.truth(index) for index in indices.tolist()] if self.corrections else None
        for index in indices.tolist():
            features = self.features(index)
            rng = np.random.default_rng([*seed, index])
            chosen.append((features, bin_sample(features.grid.count, snippets, rng)))
        batch = collate(chosen, self.labels[indices], self.audio_size, self.visual_size, truths)
        if self.prior is not None:
            rows = torch.zeros(*batch.mask.shape, 1 + len(self.classes))
            for i, (index, (_, taken)) in enumerate(zip(indices.tolist(), chosen, strict=True)):
                rows[i, : len(taken)] = torch.from_numpy(self._prior(index)[taken])
            batch.prior = rows
        return batch

    def _prior(self, index: int) -> Float[np.ndarray, "l c1"]:
        """r of one video."""
        if index in self._priors:
            return self._priors[index]
        assert self.prior is not None
        rows = self.prior(self.features(index), self.labels[index])
        if rows.nbytes <= self._room:
            self._room -= rows.nbytes
            self._priors[index] = rows
        return rows

    def statistics(self, limit: int = 1000) -> FeatureStatistics:
        """Statistics over at most `limit` evenly spaced videos, each with the same weight."""
        take = np.unique(np.linspace(0, len(self) - 1, min(limit, len(self))).round().astype(int)).tolist()
        sums: dict[str, list[np.ndarray]] = {"audio": [], "visual": []}
        for index in take:
            features = self.features(index)
            for name in features.modalities:
                rows = np.asarray(getattr(features, name), dtype=np.float64)
                sums[name].append(np.stack([rows.mean(axis=0), (rows**2).mean(axis=0)]))
        return FeatureStatistics(_moments(sums["audio"]), _moments(sums["visual"]))


def _moments(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    if not parts:
        return None
    mean, square = np.mean(parts, axis=0)
    return mean.astype(np.float32), np.sqrt(np.maximum(square - mean**2, 0)).astype(np.float32)


class PairSampler:
    """Samples batches that contain pairs of videos with a shared class, for L_cas (as W-TALC does).

    The pairs come first, in rows (0, 1), (2, 3), ...: a class is drawn uniformly, then two of its videos. The other
    rows walk through shuffled epochs, so every video is seen. A batch never repeats a video and is at most as large as
    the set.

    Args:
        labels: (n, C) 0/1.
        pair_fraction: share of the batch drawn as pairs; none are drawn if no class has two videos.
        corrected: indices of the corrected videos.
        corrected_share: least share of the batch drawn from them, in place of the last other videos, not of pairs.
    """

    def __init__(
        self,
        labels: Float[np.ndarray, "n c"],
        batch_size: int,
        pair_fraction: float,
        seed: int,
        corrected: Int[np.ndarray, " k"] | None = None,
        corrected_share: float = 0.0,
    ) -> None:
        self.size = min(batch_size, len(labels))
        self._members = [m for m in (np.flatnonzero(column) for column in labels.T) if len(m) >= 2]
        pairs = int(self.size * pair_fraction) // 2 if self._members else 0
        self.pairs, self.rest, self.seed, self._videos = pairs, self.size - 2 * pairs, seed, len(labels)
        self._corrected = np.zeros(0, dtype=np.int64) if corrected is None else corrected
        self._wanted = min(round(corrected_share * self.size), len(self._corrected))

    def batch(self, step: int) -> Int[np.ndarray, " b"]:
        """Indices of the videos of batch `step` (0, 1, ...)."""
        rng = np.random.default_rng([self.seed, 1, step])
        chosen: list[int] = []
        for _ in range(self.pairs):
            members = self._members[rng.integers(len(self._members))]
            free = np.setdiff1d(members, chosen)
            if len(free) >= 2:
                chosen += rng.choice(free, 2, replace=False).tolist()
        walk = [self._walk(step * self.rest + i) for i in range(self.rest)]
        chosen += [v for i, v in enumerate(walk) if v not in chosen and v not in walk[:i]]
        missing = self.size - len(chosen)
        if missing:  # rare in large sets, where this is the slowest part
            chosen += rng.permutation(np.setdiff1d(np.arange(self._videos), chosen))[:missing].tolist()
        return self._with_corrected(np.array(chosen), rng)

    def _with_corrected(self, chosen: Int[np.ndarray, " b"], rng: np.random.Generator) -> Int[np.ndarray, " b"]:
        """The batch with its last other videos, except those of pairs, replaced until enough are corrected ones."""
        there = np.isin(chosen, self._corrected)
        room = np.flatnonzero(~there[2 * self.pairs :])[::-1] + 2 * self.pairs
        count = min(max(0, self._wanted - int(there.sum())), len(room))
        if count:
            chosen[room[:count]] = rng.permutation(np.setdiff1d(self._corrected, chosen))[:count]
        return chosen

    def _walk(self, position: int) -> int:
        epoch, offset = divmod(position, self._videos)
        return int(self._order(epoch)[offset])

    def _order(self, epoch: int) -> Int[np.ndarray, " n"]:
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            self._permutation = np.random.default_rng([self.seed, 2, epoch]).permutation(self._videos)
        return self._permutation
