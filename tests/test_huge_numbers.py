"""Numbers of 390 and 4,000 digits in place of every number of a text file: a result, or one line."""

from __future__ import annotations

import re
import shutil
from fractions import Fraction
from pathlib import Path

import pytest

from avloc.errors import AvlocError
from avloc.types import exact
from test_hostile_data import GOOD, READERS, arrays, fresh, ours, survives, tables

NUMBER = re.compile(rb"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])")
HUGE = [b"9" * 390, b"9" * 4000, b"9" * 5000, b"1e400", b"-" + b"9" * 4000, b"0." + b"0" * 4000 + b"1", b"1e-9999"]
TEXTS = [
    name
    for name, (file, _) in READERS.items()
    if Path(file).suffix in (".csv", ".json", ".txt", ".vtt", ".eaf", ".boris", ".yaml")
]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    for make in (tables, arrays, ours):
        make(folder)
    return folder


@pytest.mark.parametrize("name", TEXTS)
def test_every_number_may_be_huge(name: str, good: Path, tmp_path: Path) -> None:
    file, read = READERS[name]
    home = fresh(good, tmp_path)
    data = (good / file).read_bytes()
    for found in list(NUMBER.finditer(data))[:40]:
        for digits in HUGE:
            for other in home.iterdir():
                other.unlink()
            (home / file).write_bytes(data[: found.start()] + digits + data[found.end() :])
            survives(read, home / file)


@pytest.mark.parametrize("text", ["9" * 390, "1e20", "-1e16", "1" + "0" * 300 + "/1"])
def test_exact_numbers_have_a_largest_one(text: str) -> None:
    with pytest.raises(ValueError, match="reasonable"):
        exact(text)
    assert exact("1e15") == Fraction(10**15)


def test_the_samples_are_read_as_they_are(good: Path, tmp_path: Path) -> None:
    """The test above would pass with readers that refuse everything."""
    home = fresh(good, tmp_path)
    for name in TEXTS:
        file, read = READERS[name]
        shutil.copy(GOOD[file], home / file)
        try:
            read(home / file)
        except AvlocError as error:
            pytest.fail(f"{name}: {error}")
