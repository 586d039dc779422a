"""ELAN documents (.eaf): one tier per class, times in whole milliseconds.

Writing: tiers are named after the class, and an annotation's value is its score (empty for ground truth). ELAN allows
no overlap within a tier, so overlapping segments of a class go to further tiers, `label (2)`, `label (3)`.

Reading: two conventions are supported, decided tier by tier. One tier per class (values are empty, numbers, or the
tier's own name): the tier is the label. One tier per coder: the values are the labels.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote
from xml.parsers import expat

from avloc.errors import FormatError, InputError
from avloc.interchange.segments import Labelled, VideoSegments, clean, milliseconds, segment
from avloc.system.atomic import atomic_write
from avloc.system.text import pluralize
from avloc.types import Detection

_TYPE = "segments"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_MIME = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".avi": "video/x-msvideo"}
_NUMBER = re.compile(r"^\s*(-?\d+(\.\d+)?)?\s*$")


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
        element = ET.SubElement(root, "TIER", {"LINGUISTIC_TYPE_REF": _TYPE, "TIER_ID": tier})
        for item in row:
            count += 1
            _annotation(order, element, item, count)
    ET.SubElement(header, "PROPERTY", {"NAME": "lastUsedAnnotationId"}).text = str(count)
    ET.SubElement(
        root,
        "LINGUISTIC_TYPE",
        {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": _TYPE, "TIME_ALIGNABLE": "true"},
    )
    ET.register_namespace("xsi", _XSI)
    ET.indent(root, " ")
    atomic_write(path, ET.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n")


def _add_media(header: ET.Element, path: Path, video: VideoSegments) -> None:
    if video.media is None:
        return
    source = video.media.path.resolve()
    facts = {"MEDIA_URL": source.as_uri(), "MIME_TYPE": _MIME.get(source.suffix.lower(), "video/*")}
    try:
        relative = source.relative_to(path.resolve().parent)
        facts["RELATIVE_MEDIA_URL"] = f"./{clean(relative.as_posix())}"
    except ValueError:  # in another folder: ELAN searches beside the document for this file name
        facts["RELATIVE_MEDIA_URL"] = f"./{clean(source.name)}"
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
    """Read one video, named after the document's media file, else after the document.

    Reference annotations (symbolic subdivisions), which have no times, are skipped and noted.

    Raises:
        InputError: no such file. FormatError: not an ELAN document, or a missing time.
    """
    root = _parse(Path(path))
    slots = {s.get("TIME_SLOT_ID", ""): s.get("TIME_VALUE") for s in root.iter("TIME_SLOT")}
    names = {tier.get("TIER_ID", "") for tier in root.iter("TIER")}
    found: list[Labelled] = []
    for tier in root.iter("TIER"):
        rows = [_times(path, a, slots) for a in tier.iter("ALIGNABLE_ANNOTATION")]
        found += _tier_segments(f"{path}: tier {tier.get('TIER_ID')!r}", tier.get("TIER_ID", ""), rows, names)
    references = sum(1 for _ in root.iter("REF_ANNOTATION"))
    if references and notes is not None:
        notes.append(f"{path}: skipped {pluralize(references, 'annotation')} without times")
    media = next((m.get("MEDIA_URL", "") for m in root.iter("MEDIA_DESCRIPTOR")), "")
    name = Path(media.rsplit("/", 1)[-1]).stem if media else ""
    return (VideoSegments(unquote(name) or Path(path).stem, tuple(found)),)


def _parse(path: Path) -> ET.Element:
    if not path.is_file():
        raise InputError(f"{path}: expected an ELAN document; no such file")
    raw = path.read_bytes()
    try:
        _refuse_entities(path, raw)
        root = ET.fromstring(raw)
    except (ET.ParseError, expat.ExpatError, ValueError, LookupError) as error:
        raise FormatError(f"{path}: expected XML ({error})") from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise FormatError(f"{path}: expected an ELAN document (ANNOTATION_DOCUMENT), got <{root.tag}>")
    return root


def _refuse_entities(path: Path, raw: bytes) -> None:
    """FormatError at the first entity declaration, in any encoding: ELAN writes none, and expansion is unbounded."""

    def refuse(*_: object) -> None:
        raise FormatError(f"{path}: expected an ELAN document, this one declares XML entities")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.Parse(raw, True)


def _times(path: Path | str, annotation: ET.Element, slots: Mapping[str, str | None]) -> tuple[float, float, str]:
    times = [slots.get(annotation.get(f"TIME_SLOT_REF{k}", "")) for k in (1, 2)]
    name = annotation.get("ANNOTATION_ID")
    if times[0] is None or times[1] is None:
        raise FormatError(f"{path}: annotation {name!r} has no time; align it in ELAN first")
    try:
        return int(times[0]) / 1000, int(times[1]) / 1000, annotation.findtext("ANNOTATION_VALUE") or ""
    except (ValueError, OverflowError):
        raise FormatError(f"{path}: annotation {name!r}: expected times in milliseconds, got {times}") from None


def _tier_segments(where: str, tier: str, rows: list[tuple[float, float, str]], names: set[str]) -> list[Labelled]:
    base = re.sub(r" \(\d+\)$", "", tier)
    label = base if base in names else tier
    if all(_NUMBER.match(value) or value.strip() == tier for _, _, value in rows):
        return [segment(where, a, b, label, float(v) if v.strip() and _NUMBER.match(v) else None) for a, b, v in rows]
    return [segment(where, a, b, value.strip()) for a, b, value in rows if value.strip()]
