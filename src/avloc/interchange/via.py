"""VGG Image Annotator 3 (video): its projects (JSON), and its two CSV exports, which are read only.

VIA opens nothing but projects. A project lists files, views (here one per file), attributes, and metadata: a segment is
{"vid": view, "z": [start_s, end_s], "xy": [], "av": {attribute: value}}. From VIA 3.0.10's source: _via_data.js,
_via_file.js, _via_attribute.js, _via_metadata.js.

# CSV_HEADER = metadata_id,file_list,temporal_segment_start,temporal_segment_end,metadata
"1_a1","[""dog.mp4""]",1.500,2.750,"{""TEMPORAL-SEGMENTS"":""barking""}"
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from avloc.errors import FormatError
from avloc.formats.json_file import parse_json
from avloc.formats.labels import TableReader
from avloc.interchange.segments import Labelled, VideoSegments, milliseconds, name_files, read_lines, segment
from avloc.system.atomic import atomic_write
from avloc.system.text import json_text, nfc, pluralize
from avloc.types import Detection

_LABEL, _SCORE = "TEMPORAL-SEGMENTS", "score"
_TEXT, _SELECT = 1, 4  # _VIA_ATTRIBUTE_TYPE
_VIDEO = 4  # _VIA_FILE_TYPE
_LOCAL, _URL, _FILE_URI = 1, 2, 3  # _VIA_FILE_LOC
_OF_SEGMENTS = "FILE1_Z2_XY0"  # _VIA_ATTRIBUTE_ANCHOR


def write_via(path: Path | str, videos: Sequence[VideoSegments]) -> None:
    """Write all videos' segments as a project: the class is an attribute with options, the score a second one.

    VIA asks for a video whose file is unknown.
    """
    labels = dict.fromkeys(label for video in videos for label in video.labels)
    views = [str(number) for number in range(1, len(videos) + 1)]
    project = {
        "project": {
            "pid": "__VIA_PROJECT_ID__",
            "rev": "__VIA_PROJECT_REV_ID__",
            "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
            "pname": Path(path).name.partition(".")[0],
            "data_format_version": "3.1.1",
            "creator": "VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)",
            "created": round(time.time() * 1000),
            "vid_list": views,
        },
        "config": {
            "file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}},
            "ui": {
                "file_content_align": "center",
                "file_metadata_editor_visible": True,
                "spatial_metadata_editor_visible": False,
                "spatial_region_label_attribute_id": "",
                "gtimeline_visible_row_count": "4",
            },
        },
        "attribute": {
            "1": _attribute(_LABEL, _SELECT, {label: label for label in labels}),
            "2": _attribute(_SCORE, _TEXT, {}),
        },
        "file": {view: _file(view, video) for view, video in zip(views, videos, strict=True)},
        "metadata": {
            f"{view}_{k}": _metadata(view, item)
            for view, video in zip(views, videos, strict=True)
            for k, item in enumerate(video.by_time)
        },
        "view": {view: {"fid_list": [view]} for view in views},
    }
    atomic_write(path, json_text(project, ensure_ascii=False, indent=1) + "\n")


def _attribute(name: str, kind: int, options: Mapping[str, str]) -> dict[str, Any]:
    return {
        "aname": name,
        "anchor_id": _OF_SEGMENTS,
        "type": kind,
        "desc": "",
        "options": dict(options),
        "default_option_id": "",
    }


def _file(number: str, video: VideoSegments) -> dict[str, Any]:
    known = video.media is not None
    source = video.media.path.resolve().as_uri() if video.media is not None else ""
    return {
        "fid": number,
        "fname": video.file_name,
        "type": _VIDEO,
        "loc": _FILE_URI if known else _LOCAL,
        "src": source,
    }


def _metadata(view: str, item: Labelled) -> dict[str, Any]:
    values = {"1": item.label} | ({"2": repr(item.score)} if isinstance(item, Detection) else {})
    return {"vid": view, "flg": 0, "z": [ms / 1000 for ms in milliseconds(item)], "xy": [], "av": values}


def is_via_project(content: Any) -> bool:
    """Whether JSON has the parts of a VIA 3 project."""
    return isinstance(content, dict) and {"project", "attribute", "file", "metadata", "view"} <= content.keys()


def read_via_project(
    path: Path | str, content: Mapping[str, Any], notes: list[str] | None = None
) -> tuple[VideoSegments, ...]:
    """Segments of a project; videos are named after their files, and those without segments are there, too.

    Raises:
        FormatError: an entry is not in VIA's format, or refers to a view or file that is missing.
    """
    found = _Found(path)
    try:
        names = {fid: _name(file) for fid, file in content["file"].items()}
        views = {vid: [names[str(fid)] for fid in view["fid_list"]] for vid, view in content["view"].items()}
        found.rows.update((files[0], []) for files in views.values())
        for mid, row in content["metadata"].items():
            found.add(f"{path}: metadata {mid!r}", views[str(row["vid"])], row["z"], row["av"], content["attribute"])
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(f"{path}: its entries are not in the format of VIA 3 ({error!r})") from error
    return found.videos(notes)


def _name(file: Mapping[str, Any]) -> str:
    """Path or URL of a file if it is stated, else its name."""
    return nfc(unquote(str(file.get("src") or "")) if file.get("loc") in (_URL, _FILE_URI) else str(file["fname"]))


def read_via(path: Path | str, notes: list[str] | None = None) -> tuple[VideoSegments, ...]:
    """Read either CSV; videos are named after their files. Rows without two times (frames, regions) are skipped.

    The label is the attribute TEMPORAL-SEGMENTS, or the only attribute besides `score`. Option ids are replaced by
    their names if the file has them (`# ATTRIBUTE = `).

    Raises:
        InputError: no such file. FormatError: no header, or an invalid row.
    """
    header, attributes, lines = _header(path)
    found = _Found(path)
    reader = TableReader(path, "".join(lines))
    for row in reader:
        if not row:
            continue
        where = f"{path}: row {reader.line_num} after the header"
        try:
            cells = dict(zip(header, row, strict=True))
            names, times = json.loads(cells["file_list"]), _times(cells)
            facts = json.loads(cells["metadata"])
            files = [nfc(str(names[0])), *names[1:]]
        except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError) as error:
            raise FormatError(f"{where}: expected {','.join(header)}, got {','.join(row)[:80]!r} ({error})") from None
        try:
            found.add(where, files, times, facts, attributes)
        except (AttributeError, TypeError, ValueError) as error:
            raise FormatError(f"{where}: its attributes are not in VIA's format ({error!r})") from error
    return found.videos(notes)


class _Found:
    """Collects the segments of each file, and counts what is none."""

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self.rows: dict[str, list[Labelled]] = {}
        self._skipped = self._shared = 0

    def add(
        self,
        where: str,
        files: Sequence[str],
        times: Sequence[Any],
        facts: Mapping[str, Any],
        attributes: Mapping[str, Any],
    ) -> None:
        if len(times) != 2 or times[0] == times[1]:
            self._skipped += 1
            return
        label, score = _label(where, facts, attributes)
        self._shared += len(files) > 1
        self.rows.setdefault(files[0], []).append(segment(where, float(times[0]), float(times[1]), label, score))

    def videos(self, notes: list[str] | None) -> tuple[VideoSegments, ...]:
        if self._skipped and notes is not None:
            notes.append(f"{self.path}: skipped {pluralize(self._skipped, 'row')} without a start and an end")
        if self._shared and notes is not None:
            notes.append(
                f"{self.path}: {pluralize(self._shared, 'row')} of a view of several files; given to the first file"
            )
        ids = name_files(self.rows, self.path, notes)
        videos: dict[str, list[Labelled]] = {}
        for file, rows in self.rows.items():
            videos.setdefault(ids[file], []).extend(rows)
        return tuple(VideoSegments(video, tuple(rows)) for video, rows in videos.items())


def _header(path: Path | str) -> tuple[list[str], Mapping[str, Any], list[str]]:
    header: list[str] = []
    attributes: Mapping[str, Any] = {}
    lines = []
    for line in read_lines(path):
        if line.startswith("# CSV_HEADER"):
            header = [cell.strip() for cell in line.partition("=")[2].strip().strip(",").split(",")]
        elif line.startswith(("# ATTRIBUTE =", "# ATTRIBUTES =")):
            try:
                attributes = parse_json(path, line.partition("=")[2].encode())
            except (ValueError, RecursionError) as error:
                raise FormatError(f"{path}: its attributes are not JSON ({error})") from error
        elif not line.startswith("#") and line.strip():
            lines.append(line + "\n")
    if "file_list" not in header or "metadata" not in header:
        raise FormatError(f"{path}: expected a VIA 3 CSV with a line `# CSV_HEADER = metadata_id,file_list,...`")
    return header, attributes, lines


def _times(cells: Mapping[str, str]) -> list[float]:
    if "temporal_coordinates" in cells:
        return [float(t) for t in json.loads(cells["temporal_coordinates"])]
    return [float(cells["temporal_segment_start"]), float(cells["temporal_segment_end"])]


def _label(where: str, facts: Mapping[str, Any], attributes: Mapping[str, Any]) -> tuple[str, float | None]:
    named: dict[str, str] = {}
    for key, value in facts.items():
        about = attributes.get(key, {})
        about = about if isinstance(about, Mapping) else {"aname": about}
        options = about.get("options") or {}
        named[str(about.get("aname", key))] = str(options.get(value, value)).removeprefix("_DEFAULT")
    score = named.pop(_SCORE, None)
    label = (
        named.get(_LABEL) or named.get("TEMPORAL_SEGMENTS") or (next(iter(named.values())) if len(named) == 1 else "")
    )
    if not label:
        got = ", ".join(named) or "none"
        raise FormatError(f"{where}: expected one attribute that holds the label, got {got}; export only that one")
    return label, float(score) if score else None
