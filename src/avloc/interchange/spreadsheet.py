"""found.xlsx and found.csv: what counts as found, for people with a spreadsheet; segments.csv holds every detection.

No comma- or semicolon-separated file opens right in every Excel: the separator and the decimal sign are those of the
system (`;` and `,` in German, `,` and `.` in English), "3.25" becomes a date in German, and a first line `sep=;` makes
Excel overlook the byte-order mark, so that umlauts break. Hence

found.xlsx    numbers and times as such, text that is never a formula; ECMA-376, the smallest workbook
found.csv     Excel's "Unicode Text": UTF-16 with byte-order mark and tabs, which needs no setting; times carry their
              units and scores are whole percent, so that no Excel takes them for dates or thousands

Both: one row a segment, sorted by video and start, times to 1/100 s.
"""

from __future__ import annotations

import csv
import io
import logging
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from avloc.interchange.segments import clean
from avloc.system.atomic import atomic_write
from avloc.system.text import printable
from avloc.types import Detection

_log = logging.getLogger("avloc")
_DAY_S = 86400
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MAX_ROWS = 1_048_576
"""Of a worksheet."""

_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS = {
    "[Content_Types].xml": (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPES}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPES}.worksheet+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{_TYPES}.styles+xml"/></Types>'
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{_RELATIONS}">'
        f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}">'
        '<sheets><sheet name="found" sheetId="1" r:id="rId1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{_RELATIONS}">'
        f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
        f'<Relationship Id="rId2" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>'
    ),
    # cell styles, by their number: 0 text, 1 bold, 2 a time of day beyond 24 hours, 3 two decimals
    "xl/styles.xml": (
        f'<styleSheet xmlns="{_MAIN}">'
        '<numFmts count="1"><numFmt numFmtId="164" formatCode="[h]:mm:ss.00"/></numFmts>'
        '<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
        '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>'
        '<fills count="2"><fill><patternFill patternType="none"/></fill>'
        '<fill><patternFill patternType="gray125"/></fill></fills>'
        '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
        '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
        '<cellXfs count="4"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
        '<xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/>'
        '<xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
        '<xf numFmtId="2" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/></cellXfs></styleSheet>'
    ),
}


def write_found_xlsx(path: Path, found: Mapping[str, Sequence[Detection]]) -> None:
    """Write {video_id: detections} as a workbook: video, label, start, end, start_s, end_s, length_s, score.

    What exceeds the rows of a worksheet is left out, with a warning.
    """
    rows = _rows(found)
    kept = rows[: _MAX_ROWS - 1]
    if len(kept) < len(rows):
        _log.warning("%s: a worksheet holds %d rows; the last %d are left out", path, _MAX_ROWS, len(rows) - len(kept))
    header = ("video", "label", "start", "end", "start_s", "end_s", "length_s", "score")
    lines = ["".join(_text(name, 1) for name in header)]
    for video, d in kept:
        start_s, end_s = round(d.start_s, 2), round(d.end_s, 2)
        times = _number(start_s / _DAY_S, 2) + _number(end_s / _DAY_S, 2)
        seconds = "".join(_number(round(s, 2), 3) for s in (start_s, end_s, end_s - start_s, d.score))
        lines.append(_text(video) + _text(d.label) + times + seconds)
    sheet = (
        f'<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
        '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews>'
        '<cols><col min="1" max="2" width="28" customWidth="1"/>'
        '<col min="3" max="8" width="12" customWidth="1"/></cols>'
        f"<sheetData>{''.join(f'<row>{line}</row>' for line in lines)}</sheetData>"
        f'<autoFilter ref="A1:H{len(lines)}"/></worksheet>'
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as book:
        for name, part in {**_PARTS, "xl/worksheets/sheet1.xml": sheet}.items():
            book.writestr(zipfile.ZipInfo(name), _XML + part, zipfile.ZIP_DEFLATED)  # ZipInfo: the same date always
    atomic_write(path, buffer.getvalue())


def write_found_csv(path: Path, found: Mapping[str, Sequence[Detection]]) -> None:
    """Write {video_id: detections} as text: video, label, start, end, length, score_percent.

    A name or label that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text, dialect="excel-tab")
    table.writerow(("video", "label", "start", "end", "length", "score_percent"))
    for video, d in _rows(found):
        start_s, end_s = round(d.start_s, 2), round(d.end_s, 2)
        names = (_no_formula(printable(name)) for name in (video, d.label))
        table.writerow((*names, _clock(start_s), _clock(end_s), f"{end_s - start_s:.2f} s", round(100 * d.score)))
    atomic_write(path, b"\xff\xfe" + text.getvalue().encode("utf-16-le"))


def _rows(found: Mapping[str, Sequence[Detection]]) -> list[tuple[str, Detection]]:
    every: Iterable[tuple[str, Detection]] = ((video, d) for video, its in found.items() for d in its)
    return sorted(every, key=lambda row: (row[0], row[1].start_s, row[1].end_s, row[1].label))


def _clock(seconds: float) -> str:
    """3725.5 as "1h02m05.50s"."""
    hundredths = round(100 * seconds)
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes // 60}h{minutes % 60:02d}m{rest / 100:05.2f}s"


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _text(value: str, style: int = 0) -> str:
    return f'<c s="{style}" t="inlineStr"><is><t xml:space="preserve">{escape(clean(value))}</t></is></c>'


def _number(value: float, style: int) -> str:
    return f'<c s="{style}"><v>{value!r}</v></c>'
