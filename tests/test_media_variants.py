"""Events of test patterns are at their true times, in every container, codec and clock of the benchmark's table."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from benchmarks.reliability.media_variants import measure
from benchmarks.reliability.patterns import Truth, record
from benchmarks.reliability.variants import VARIANTS, Variant


def shifted(path: Path) -> Truth:
    """A recording whose stated events are 1/10 s too late, and whose stated length is 1 s too long."""
    truth = record(path, length_s=4, events_s=(1,), codec="mpeg4", sound="pcm_s16le", sound_hz=16_000)
    late = truth.delayed(Fraction(1, 10), frames=1)
    return Truth(late.flash_s, late.beep_s, late.flash_frames, truth.duration_s + 1)


def test_true_times_pass_and_false_ones_are_reported(tmp_path: Path) -> None:
    true = Variant("mkv short", lambda path: shifted(path).delayed(-Fraction(1, 10), frames=-1))
    truth, offsets = measure(true, tmp_path)
    assert truth.flash_s == truth.beep_s == (1,)
    assert truth.flash_frames == (25,)
    assert [text.split()[0] for text in offsets.faults(truth, true.allowed_s)] == ["duration"]

    truth, offsets = measure(Variant("mkv short", shifted), tmp_path)
    found = offsets.faults(truth, 0.04)
    assert [text.split()[0] for text in found] == ["flash", "beep", "listed", "duration"]
    assert found[0] == "flash -0.100"


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_events_are_at_their_true_times(tmp_path: Path, variant: Variant) -> None:
    truth, offsets = measure(variant, tmp_path)
    assert offsets.faults(truth, variant.allowed_s) == []
