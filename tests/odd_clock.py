"""A clock that is wrong: for this process by `install`, for those that it starts by `sitecustomize`.

"back" goes a day back after 50 readings, "ahead" a year ahead, "falling" is a second earlier at each reading, and
"1970" is that of a computer without a battery.
"""

from __future__ import annotations

import itertools
import os
import time

CLOCKS = ("back", "ahead", "falling", "1970")
_DAY_S = 86_400


def install(clock: str) -> None:
    real, reading = time.time, itertools.count()

    def wrong() -> float:
        n, now = next(reading), real()
        jump = n > 50
        return {
            "back": now - jump * _DAY_S,
            "ahead": now + jump * 366 * _DAY_S,
            "falling": now - n,
            "1970": now % 1000,
        }[clock]

    time.time = wrong
    time.time_ns = lambda: int(wrong() * 1e9)


if __name__ == "sitecustomize":
    install(os.environ["AVLOC_TEST_CLOCK"])
