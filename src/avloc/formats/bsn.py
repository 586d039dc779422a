"""BSN's annotations of ActivityNet 1.3 (Lin et al., ECCV 2018), also used by BMN and MMAction2.

    anet_anno_action.json   {"v_<id>": {"duration_second": 82.73, "duration_frame": 2479, "feature_frame": 2464,
                                        "annotations": [{"segment": [0.01, 64.83], "label": "Ballet"}, ...]}, ...}
    video_info_new.csv      beside it: video,numFrame,seconds,fps,rfps,subset,featureFrame

Differs from ActivityNet's own JSON: no subsets, and names with a leading `v_`, which is removed here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avloc.errors import FormatError
from avloc.formats.labels import read_text
from avloc.formats.records import parse_records

SUBSETS_FILE = "video_info_new.csv"


def bsn_database(path: Path | str, content: dict[str, Any]) -> dict[str, Any]:
    """A parsed JSON file in ActivityNet's schema; unchanged if it is not BSN's.

    Subsets are those of video_info_new.csv beside the file; without it, or for videos that it does not name, "".

    Raises:
        FormatError: that file is not a table with the columns video and subset.
    """
    if not content or not all(isinstance(e, Mapping) and "duration_second" in e for e in content.values()):
        return content
    subsets = _subsets(Path(path).parent / SUBSETS_FILE)
    prefix = "v_" if all(video.startswith("v_") for video in content) else ""
    database = {
        video.removeprefix(prefix): {
            "subset": subsets.get(video, entry.get("subset", "")),
            "duration": entry["duration_second"],
            "annotations": entry.get("annotations", []),
        }
        for video, entry in content.items()
    }
    return {"version": "ActivityNet 1.3 (BSN)", "taxonomy": [], "database": database}


def _subsets(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        rows = parse_records(io.StringIO(read_text(path)), strict=True)
        return {row["video"]: row["subset"] for row in rows}
    except (csv.Error, KeyError, ValueError) as error:
        raise FormatError(f"{path}: expected BSN's table with the columns video and subset ({error!r})") from error
