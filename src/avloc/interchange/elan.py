"""ELAN documents (.eaf): one tier per class, times in whole milliseconds.

Writing: tiers are named after the class. Tiers of detections have the type `scores`, and the value of an annotation is
its score; values of ground truth are empty. ELAN allows no overlap within a tier, so overlapping segments of a class go
to further tiers, `label (2)`, `label (3)`.

Reading: two conventions are supported, decided tier by tier. One tier per class (of type `scores`, or all values are
empty or the tier's own name): the tier is the label. One tier per coder: the values are the labels, numbers too.
Times are explained in `elan_times`.
"""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote
from xml.parsers import expat

from avloc.errors import FormatError, InputError
from avloc.formats.untrusted.bombs import read_document
from avloc.formats.untrusted.budget import xml_budget
from avloc.interchange.elan_times import DocumentTimes
from avloc.interchange.segments import (
    Labelled,
    Row,
    VideoSegments,
    check_copies,
    clean,
    cut_to,
    milliseconds,
    name_files,
)
from avloc.system.atomic import atomic_write
from avloc.system.text import pluralize
from avloc.types import Detection, exact
from avloc.vocabulary import VIDEO_EXTENSIONS

_PLAIN, _SCORES = "segments", "scores"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_MIME = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".avi": "video/x-msvideo"}
_NUMBER = re.compile(r"^\s*-?\d+(\.\d+)?\s*$")
_WRITTEN = re.compile(r"^(-?\d+\.\d{4})?$")
"""Values of tiers of type `segments` that earlier versions wrote: scores, or empty."""


def write_eaf(path: Path | str, video: VideoSegments) -> None:
    """Write one video's segments as an ELAN document that refers to the video file."""
    root = ET.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "avloc",
            "DATE": datetime.now(UTC).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            f"{{{_XSI}}}noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )
    header = ET.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    _add_media(header, Path(path), video)
    order = ET.SubElement(root, "TIME_ORDER")
    count = 0
    for tier, row in _tiers(video):
        kind = _SCORES if any(isinstance(item, Detection) for item in row) else _PLAIN
        element = ET.SubElement(root, "TIER", {"LINGUISTIC_TYPE_REF": kind, "TIER_ID": tier})
        for item in row:
            count += 1
            _annotation(order, element, item, count)
    ET.SubElement(header, "PROPERTY", {"NAME": "lastUsedAnnotationId"}).text = str(count)
    for kind in (_PLAIN, _SCORES):
        facts = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": kind, "TIME_ALIGNABLE": "true"}
        ET.SubElement(root, "LINGUISTIC_TYPE", facts)
    ET.register_namespace("xsi", _XSI)
    ET.indent(root, " ")
    atomic_write(path, ET.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n")


def _add_media(header: ET.Element, path: Path, video: VideoSegments) -> None:
    if video.media is None:
        return
    source = video.media.path.resolve()
    facts = {"MEDIA_URL": source.as_uri(), "MIME_TYPE": _MIME.get(source.suffix.lower(), "video/*")}
    try:
        relative = Path(os.path.relpath(source, path.resolve().parent)).as_posix()
    except ValueError:  # on another drive: ELAN searches beside the document for this file name
        relative = source.name
    facts["RELATIVE_MEDIA_URL"] = clean(relative if relative.startswith("../") else f"./{relative}")
    ET.SubElement(header, "MEDIA_DESCRIPTOR", facts)


def _tiers(video: VideoSegments) -> list[tuple[str, list[Labelled]]]:
    """(name, segments) of each tier; names are unique."""
    tiers: dict[str, list[Labelled]] = {}
    for label in video.labels:
        for number, row in enumerate(video.rows(label), start=1):
            name = clean(label) if number == 1 else f"{clean(label)} ({number})"
            while name in tiers:  # labels that differ only in control characters
                name += "'"
            tiers[name] = row
    return list(tiers.items())


def _annotation(order: ET.Element, tier: ET.Element, item: Labelled, number: int) -> None:
    slots = [f"ts{2 * number - 1}", f"ts{2 * number}"]
    for slot, ms in zip(slots, milliseconds(item), strict=True):
        ET.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": slot, "TIME_VALUE": str(ms)})
    facts = {"ANNOTATION_ID": f"a{number}", "TIME_SLOT_REF1": slots[0], "TIME_SLOT_REF2": slots[1]}
    holder = ET.SubElement(ET.SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION", facts)
    value = f"{item.score:.4f}" if isinstance(item, Detection) else ""
    ET.SubElement(holder, "ANNOTATION_VALUE").text = value


def read_eaf(path: Path | str, notes: list[str] | None = None) -> tuple[VideoSegments, ...]:
    """Read a document: one video per video file that it shows, named after it; without one, after its first media
    file, else after the document.

    A file's own time is the annotation's plus its TIME_ORIGIN. Annotations without own times are placed as ELAN shows
    them, and noted.

    Raises:
        InputError: no such file. FormatError: not an ELAN document, times not in milliseconds, or a missing time slot.
    """
    root = _parse(Path(path))
    said: list[str] = [] if notes is None else notes
    header = root.find("HEADER")
    units = "milliseconds" if header is None else header.get("TIME_UNITS", "milliseconds")
    if units != "milliseconds":
        raise FormatError(f"{path}: expected times in milliseconds, got {units}; save it with a current ELAN")
    times = DocumentTimes(path, root)
    names = {tier.get("TIER_ID", "") for tier in root.iter("TIER")}
    rows = [row for tier in root.iter("TIER") for row in _tier_rows(path, tier, times, names, said)]
    said += times.notes()
    media = _media_origins(path, root, said)
    check_copies(path, len(rows) * (len(media) - 1))
    if len(media) > 1:
        said.append(f"{path}: shows {', '.join(media)}; each gets the segments")
    return tuple(
        VideoSegments(video_id, tuple(cut_to(f"{path}: {video_id}", rows, origin_s, None, said)))
        for video_id, origin_s in media.items()
    )


def _media_origins(path: Path | str, root: ET.Element, notes: list[str]) -> dict[str, Fraction]:
    """{video_id: annotation time at which the file starts} of the document's video files."""
    found = []
    for media in root.iter("MEDIA_DESCRIPTOR"):
        url, origin = unquote(media.get("MEDIA_URL") or media.get("RELATIVE_MEDIA_URL") or ""), media.get("TIME_ORIGIN")
        try:
            start_s = -Fraction(int(exact(origin or 0)), 1000)
        except ValueError:
            raise FormatError(f"{path}: {url}: expected a TIME_ORIGIN in milliseconds, got {origin!r}") from None
        video = media.get("MIME_TYPE", "").startswith("video/") or Path(url).suffix.lower() in VIDEO_EXTENSIONS
        if url:
            found.append((url, start_s, video))
    shown = [item for item in found if item[2]] or found[:1]
    ids = name_files((url for url, _, _ in shown), path, notes)
    origins: dict[str, Fraction] = {}
    for url, start_s, _ in shown:
        origins.setdefault(ids[url], start_s)
    return origins or {Path(path).stem: Fraction(0)}


def _parse(path: Path) -> ET.Element:
    if not path.is_file():
        raise InputError(f"{path}: expected an ELAN document; no such file")
    raw = read_document(path)
    xml_budget(path, raw)
    try:
        _refuse_entities(path, raw)
        root = ET.fromstring(raw)
    except (ET.ParseError, expat.ExpatError, ValueError, LookupError) as error:
        raise FormatError(f"{path}: expected XML ({error})") from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise FormatError(f"{path}: expected an ELAN document (ANNOTATION_DOCUMENT), got <{root.tag}>")
    if len(root.findall("TIER")) < sum(1 for _ in root.iter("TIER")):
        raise FormatError(f"{path}: expected tiers side by side, got one in another element; correct the document")
    return root


def _refuse_entities(path: Path, raw: bytes) -> None:
    """FormatError at the first entity declaration, in any encoding: ELAN writes none, and expansion is unbounded."""

    def refuse(*_: object) -> None:
        raise FormatError(f"{path}: expected an ELAN document, this one declares XML entities")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.Parse(raw, True)


def _tier_rows(
    path: Path | str, tier: ET.Element, times: DocumentTimes, names: set[str], notes: list[str]
) -> list[Row]:
    """The annotations of a tier, labelled by its name or by their values."""
    name = tier.get("TIER_ID", "")
    where = f"{path}: tier {name!r}"
    found = [(*span, (a.findtext("ANNOTATION_VALUE") or "").strip()) for a, span in times.of_tier(tier)]
    base = re.sub(r" \(\d+\)$", "", name)
    label = base if base in names else name
    values = [value for _, _, value in found]
    kind = tier.get("LINGUISTIC_TYPE_REF")
    if kind == _SCORES or (kind == _PLAIN and all(map(_WRITTEN.match, values))):
        return [
            Row(a, b, label, float(v)) if _NUMBER.match(v) else Row(a, b, label if v in ("", name) else v)
            for a, b, v in found
        ]
    if all(value in ("", name) for value in values):
        return [Row(a, b, label) for a, b, _ in found]
    if empty := values.count(""):
        notes.append(f"{where}: left out {pluralize(empty, 'annotation')} without a value; the values are its labels")
    if all(_NUMBER.match(value) for value in values if value):
        notes.append(f"{where}: its values are numbers, read as labels; scores need the tier type {_SCORES!r}")
    return [Row(a, b, value) for a, b, value in found if value]
