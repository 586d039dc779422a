"""The paper's Tables 1-10 as data: cells verbatim, with page numbers.

A cell is text, as printed: "-" where the paper has a dash, "?" for an illegible or doubtful digit (Table 10 only),
"2.3e6" for 2.3 × 10^6. "A / B" is fully / weakly supervised (Table 5). All in percent except Table 4's multiply-adds.
Source: Lee et al., Cross-Attentional Audio-Visual Fusion for Weakly-Supervised Action Localization, ICLR 2021.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ACCURACY, AVERAGE, FLOPS = "accuracy", "average mAP", "multiply-adds"
"""Columns: AVE's snippet accuracy; ActivityNet1.2's mean over t-IoU; "mAP@0.5" and so on are the thresholds."""


@dataclass(frozen=True)
class PaperTable:
    """One table.

    Args:
        number, page, title: of the table.
        columns: names of the columns.
        rows: {name of the row: its cells, in the order of the columns}; "" for an absent cell.
    """

    number: int
    page: int
    title: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[str, ...]]

    def cell(self, row: str, column: str) -> str:
        """The cell as printed; "" if absent."""
        if row not in self.rows or column not in self.columns:
            return ""
        return self.rows[row][self.columns.index(column)]


def number(cell: str) -> float | None:
    """Value of a cell; None for a dash, an illegible digit, or two numbers."""
    try:
        return float(re.sub(r"(?<=\d)\?$", "", cell))
    except ValueError:
        return None


def _map(*thresholds: str) -> tuple[str, ...]:
    return tuple(f"mAP@{t}" for t in thresholds)


def _rows(text: str) -> dict[str, tuple[str, ...]]:
    """Parse lines of "name | cell cell ..."; "_" is an absent cell."""
    rows = {}
    for line in text.strip().splitlines():
        name, _, cells = line.partition("|")
        rows[name.strip()] = tuple("" if c == "_" else c for c in cells.split())
    return rows


_SHORT = (ACCURACY, *_map("0.5", "0.6", "0.7", "0.8"), AVERAGE)
_FULL = (*_map("0.5", "0.55", "0.6", "0.65", "0.7", "0.75", "0.8", "0.85", "0.9", "0.95"), AVERAGE)

_STAGES = """
audio   | 32.1 12.3 10.9  9.7  7.6  7.8
visual  | 45.2 38.3 32.9 25.4 19.2 22.1
0-stage | 65.0 37.6 32.4 26.7 19.4 22.0
1-stage | 75.0 42.1 35.3 29.5 20.8 24.1
2-stage | 77.1 44.8 37.8 30.8 22.5 26.0
3-stage | 75.6 39.5 33.8 27.9 20.9 23.3
"""

_LOSSES = """
S-I   | 68.5 39.4 35.7 30.7 19.8 23.8
O-I   | 64.9 39.9 33.7 23.8 14.3 20.3
O-II  | 75.9 44.1 37.4 31.1 22.4 25.7
O-III | 77.1 44.8 37.8 30.8 22.5 26.0
"""

_SKIPS = """
w/o skip connection        | 24.1
w/ skip connection         | 24.9
w/ dense skip connections  | 26.0
"""

_COST = """
visual-only, 1024 | 2.3e6 22.1
1-stage, 1024     | 3.5e6 24.1
2-stage, 1024     | 4.0e6 26.0
visual-only, 512  | 1.2e6 21.0
2-stage, 512      | 1.7e6 25.9
"""

_AVE: dict[str, tuple[str, ...]] = {
    "Tian et al. (2018)": ("74.7 / 73.1",),
    "Lin et al. (2019)": ("75.4 / 74.2",),
    "Owens & Efros (2018)": ("72.3 / 68.8",),
    "Xuan et al. (2020)": ("77.1 / 75.7",),
    "Proposed": ("-/77.1",),
}

_ANET = """
Zhao et al. (2017), fully supervised | 41.3 38.8 35.9 32.9 30.4 27.0 22.2 18.2 13.2 6.1 26.6
Paul et al. (2018)        | 37.0 33.5 30.4 25.7 16.6 12.7 10.0  7.0  4.2 1.5 18.0
Liu et al. (2019b)        | 37.1 33.4 29.9 26.7 23.4 20.3 17.2 13.9  9.2 5.0 21.6
Liu et al. (2019a)        | 36.8 - - - - 22.0 - - - 5.6 22.4
Jain et al. (2020)        | 39.4 - - - 15.4 - - - - - -
Shi et al. (2020)         | 41.0 37.5 33.5 30.1 26.9 23.5 19.8 15.5 10.8 5.3 24.4
Luo et al. (2020)         | 37.4 - - - 23.1 - - - 2.0 - 20.3
Tian et al. (2018)        | 15.4 13.9 12.5 11.2 10.2  9.1  7.6  5.7  1.6 0.3  8.8
Naive fusion (0-stage)      | 41.2 38.4 34.8 31.8 26.3 17.0  5.6  2.2  0.8 0.2 19.8
Naive fusion (0-stage) + CL | 39.4 37.0 33.5 30.6 27.7 23.6 20.0 13.6  3.0 0.6 22.9
Ours                      | 44.8 42.1 37.8 34.2 30.8 26.7 22.5 15.9  4.0 1.0 26.0
Ours (efficient)          | 45.0 41.8 38.3 34.0 29.7 26.3 22.1 15.7  4.7 1.0 25.9
"""

_FROZEN = """
w/o skip, 2-stage                 | 24.1
w/o skip, 3-stage                 | 24.7
w/ skip, 2-stage                  | 24.9
w/ skip, 3-stage                  | 23.2
w/ skip, 3-stage, 2 frozen        | 24.9
w/ dense skip, 2-stage            | 26.0
w/ dense skip, 3-stage            | 23.3
w/ dense skip, 3-stage, 2 frozen  | 25.2
"""

_SIZES = """
1-stage, 128 x 512    | 72.7
1-stage, 128 x 1024   | 73.2
1-stage, 128 x 2048   | 73.7
1-stage, 512 x 512    | 74.8
1-stage, 512 x 1024   | 74.8
1-stage, 512 x 2048   | 74.7
1-stage, 1024 x 512   | 73.2
1-stage, 1024 x 1024  | 75.0
1-stage, 1024 x 2048  | 75.0
1-stage, 2048 x 512   | 73.7
1-stage, 2048 x 1024  | 74.3
1-stage, 2048 x 2048  | 74.4
2-stage, 1024 x 1024  | 77.1
"""

_LOSSES_BY_STAGE = """
0-stage, O-I   | 57.7 42.8 35.9 27.6  7.2 21.0
0-stage, O-II  | 66.8 29.4 25.3 20.5 13.6 16.5
0-stage, O-III | 65.0 37.6 32.4 26.7 19.4 22.0
1-stage, O-I   | 64.6 39.8 33.4 27.4 13.0 21.9
1-stage, O-II  | 73.7 41.5 34.9 28.4 20.9 24.0
1-stage, O-III | 75.0 42.1 35.3 29.5 20.8 24.1
2-stage, O-I   | 64.9 39.9 33.7 23.8 14.3 20.3
2-stage, O-II  | 75.9 44.1 37.4 31.1 22.4 25.7
2-stage, O-III | 77.1 44.8 37.8 30.8 22.5 26.0
3-stage, O-I   | 66.2 38.4 31.8 25.5 17.7 21.5
3-stage, O-II  | 74.3 39.8 33.7 27.9 20.7 23.2
3-stage, O-III | 74.6 39.5 33.8 27.9 20.9 23.3
"""

_ALL_LOSSES = """
S-0   | 62.1? 36.4 28.4 22.7  15.8  19.?
S-I   | 68.5  39.4 35.7 30.7  19.8  23.8
O-0   | 60.4? 35.4 27.5 2?.9  12.7? 18.?
O-I   | 64.9  39.9 33.7 23.8  14.3  20.3
O-II  | 75.9  44.1 37.4 31.1  22.4  25.7
O-III | 77.1  44.8 37.8 30.8  22.5  26.0
"""

PAPER: dict[str, PaperTable] = {
    "table1": PaperTable(1, 6, "Stages of cross-attention, and one modality alone", _SHORT, _rows(_STAGES)),
    "table2": PaperTable(2, 7, "Consistency losses and classifier, 2 stages", _SHORT, _rows(_LOSSES)),
    "table3": PaperTable(3, 8, "Skip connections, 2 stages", (AVERAGE,), _rows(_SKIPS)),
    "table4": PaperTable(4, 8, "Multiply-adds per snippet and average mAP, by d_x", (FLOPS, AVERAGE), _rows(_COST)),
    "table5": PaperTable(5, 9, "Comparison on AVE, fully / weakly supervised", (ACCURACY,), _AVE),
    "table6": PaperTable(6, 9, "Comparison on ActivityNet1.2", _FULL, _rows(_ANET)),
    "table7": PaperTable(7, 13, "2 and 3 stages, and the third on two frozen ones", (AVERAGE,), _rows(_FROZEN)),
    "table8": PaperTable(8, 13, "Size d_xu x d_xv of W", (ACCURACY,), _rows(_SIZES)),
    "table9": PaperTable(9, 14, "Consistency losses by number of stages", _SHORT, _rows(_LOSSES_BY_STAGE)),
    "table10": PaperTable(10, 15, "Consistency losses and classifier, in full", _SHORT, _rows(_ALL_LOSSES)),
}
"""{name on the command line: table}. Table 10's doubtful digits: docs/method.md, appendix."""
