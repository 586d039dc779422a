"""The videos of a page that are suggested for correction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from avloc.formats.results import RunSource
from avloc.formats.retraining import read_state
from avloc.types import ActivationSequence, Segment


def suggested(
    run: RunSource, videos: Sequence[str], checked: Collection[str], count: int
) -> dict[str, tuple[Segment, ...]]:
    """{video_id: times to look at}, those whose correction should teach most first.

    Videos that were checked when the run was trained are left out. The first `count`, whether checked since or not, so
    that progress can be counted; twice as many when all of these are checked, and so on.
    """
    if count < 1:
        return {}
    from avloc.pipeline.suggest import rank  # loads torch

    state = read_state(run.folder.resolve().parent) if run.folder is not None else None
    learned = set(state.learned) if state is not None else set()
    left = [video for video in videos if video not in learned]
    ranked = rank(_activations(run, left), len(left), _activations(run, sorted(learned)))
    stop = count
    while stop < len(ranked) and all(video.video_id in checked for video in ranked[:stop]):
        stop += count
    return {video.video_id: video.spans for video in ranked[:stop]}


def _activations(run: RunSource, videos: Iterable[str]) -> Iterator[ActivationSequence]:
    return (found for video in videos if (found := run.activations(video)) is not None)
