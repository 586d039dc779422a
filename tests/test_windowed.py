"""Windowed audio features: every snippet is the mean of the rows that lie in it, whatever the lengths."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from avloc.features.windowed import WindowedAudioRows
from avloc.types import SnippetGrid

RATE = 1000


class Clock:
    """Says of each row what the audio holds at its centre; the tests' audio holds its own time in seconds."""

    name, modality, size, licence, weights = "clock", "audio", 1, "", None
    rate_hz, window_s, row_s, first_s = RATE, Fraction(10), Fraction(8, 25), Fraction(0)

    def __init__(self, nearsighted: bool = False) -> None:
        self.windows: list[int] = []
        self.nearsighted = nearsighted

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.windows += [batch.shape[1]] * len(batch)
        at = np.minimum(np.arange(-(-batch.shape[1] // 320)) * 320, batch.shape[1] - 1)
        rows = batch[:, at].astype(np.float32)
        if self.nearsighted and batch.shape[1] == 10 * RATE:  # rows near an edge are wrong, as without context
            seconds = at / RATE
            rows[(seconds < 1)[None] & (batch[:, :1] > 0)] = -1e6
            rows[:, seconds >= 9.1] = -1e6
        return rows[..., None]


def heard(seconds: float, step: float, backbone: Clock, block: int = 777, audio_s: float | None = None) -> np.ndarray:
    grid = SnippetGrid.cover(seconds, step)
    rows = WindowedAudioRows(backbone, grid)
    audio = np.arange(round((audio_s or seconds) * RATE)) / RATE
    for start in range(0, len(audio), block):
        rows.push(audio[start : start + block])
    found = rows.finish(grid.count)
    assert found.shape == (grid.count, 1)
    assert found.dtype == np.float32
    return found[:, 0]


@pytest.mark.parametrize("seconds", [3, 9.99, 10, 10.01, 12, 17.99, 18, 18.01, 42.3, 300])
@pytest.mark.parametrize("step", [1, 0.64, 0.25])
def test_a_snippets_row_is_of_its_own_time(seconds: float, step: float) -> None:
    grid = SnippetGrid.cover(seconds, step)
    found = heard(seconds, step, Clock())
    inner = slice(1, -1)
    np.testing.assert_allclose(found[inner], grid.centres_s()[inner], atol=0.09)
    np.testing.assert_allclose(found, grid.centres_s(), atol=0.33)


@pytest.mark.parametrize("block", [7, 320, 9_999, 10_000, 100_000])
def test_blocks_do_not_matter(block: int) -> None:
    np.testing.assert_array_equal(heard(25, 0.5, Clock(), block), heard(25, 0.5, Clock()))


def test_rows_near_an_edge_come_from_the_window_that_sees_beyond() -> None:
    assert heard(40, 1, Clock(nearsighted=True))[:-2].min() > 0


def test_no_window_is_longer_than_a_window_and_a_row() -> None:
    backbone = Clock()
    heard(61.7, 1, backbone)
    assert max(backbone.windows) < 10_320
    assert len(backbone.windows) == 8  # a hop of 8 s, and one that ends with the audio
    backbone = Clock()
    heard(4.2, 1, backbone)
    assert backbone.windows == [4_200]


def test_where_the_audio_has_ended_zeros_are_heard() -> None:
    found = heard(30, 1, Clock(), audio_s=12)
    np.testing.assert_allclose(found[1:11], np.arange(1.5, 11), atol=0.05)
    assert not found[13:].any()


def test_audio_beyond_the_grid_is_context_only() -> None:
    np.testing.assert_allclose(heard(12, 1, Clock(), audio_s=30), heard(30, 1, Clock())[:12])


def test_memory_is_a_few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = SnippetGrid.cover(3600, 1)
    rows = WindowedAudioRows(Clock(), grid)
    most = 0
    for _ in range(0, 3600 * RATE, 5000):
        rows.push(np.zeros(5000, np.float32))
        most = max(most, len(rows._audio) + sum(map(len, rows._parts)))
    assert most < 60 * RATE


def test_windows_too_short_for_the_margins_are_refused() -> None:
    backbone = Clock()
    backbone.window_s = Fraction(2)
    with pytest.raises(ValueError, match="no row inside the margins"):
        WindowedAudioRows(backbone, SnippetGrid.cover(5, 1))
