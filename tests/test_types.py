"""Data types: validation and conversions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from avloc.types import Detection, FeatureSequence, Instance, SnippetGrid


def test_grid_rounds_half_a_cell_up_and_drops_less() -> None:
    assert SnippetGrid.cover(10.01, 1).count == 10
    assert SnippetGrid.cover(10.5, 1).count == 11
    assert SnippetGrid.cover(10.49, 1).count == 10
    assert SnippetGrid.cover(0.3, 1).count == 1
    assert SnippetGrid.cover(10, 0.64).count == 16


def test_grid_is_exact_over_an_hour() -> None:
    grid = SnippetGrid.cover(3600, 0.64)
    assert grid.step_s == Fraction(16, 25)
    assert grid.window(5624)[0] == Fraction(16, 25) * 5624


def test_windows_wider_than_the_step_are_centred_on_their_cells() -> None:
    grid = SnippetGrid.cover(10, 0.64, 0.96)
    assert grid.cell(3) == (Fraction("1.92"), Fraction("2.56"))
    assert sum(grid.window(3)) == sum(grid.cell(3))
    assert grid.window(3)[1] - grid.window(3)[0] == Fraction("0.96")


def test_segment_reaches_the_end_of_the_video_and_no_further() -> None:
    grid = SnippetGrid.cover(10.4, 1)
    assert grid.segment(8, 10, 10.4).end_s == 10.4
    assert grid.segment(0, 3, 10.4).start_s == 0.0
    late = SnippetGrid.cover(9.6, 1)
    assert late.segment(9, 10, 9.6).end_s == 9.6
    with pytest.raises(ValueError, match="need 0 <= first < stop"):
        grid.segment(4, 4, 10.4)


def test_indices_take_cells_by_their_centre() -> None:
    grid = SnippetGrid.cover(10, 1)
    assert grid.indices(2.4, 4.5).tolist() == [2, 3]
    assert grid.indices(2.6, 2.9).tolist() == []


def test_features_must_match_their_grid_and_be_finite() -> None:
    grid = SnippetGrid.cover(4, 1)
    with pytest.raises(ValueError, match="grid has 4"):
        FeatureSequence("v", 4.0, grid, np.zeros((5, 3)), None)
    with pytest.raises(ValueError, match="neither"):
        FeatureSequence("v", 4.0, grid, None, None)
    rows = np.zeros((4, 3))
    rows[2, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in 1 rows, first 2"):
        FeatureSequence("v", 4.0, grid, None, rows)


@pytest.mark.parametrize(("start", "end"), [(2.0, 2.0), (3.0, 2.0), (-1.0, 2.0), (0.0, float("nan"))])
def test_segments_are_half_open_and_forward(start: float, end: float) -> None:
    with pytest.raises(ValueError, match="0 <= start < end"):
        Instance(start, end, "a")
    with pytest.raises(ValueError, match="0 <= start < end"):
        Detection(start, end, "a", 1.0)
