"""Times of the annotations of an ELAN document, as ELAN shows them.

An alignable annotation refers to two time slots. Slots without a value divide the time between their nearest neighbours
with one evenly, in whole milliseconds: on a dependent tier the neighbours in the chain of the tier's annotations, whose
ends get their time from the parent tier, and on others those in the order of the document. A reference annotation has
its parent's time (Symbolic_Association), or its share of it (Symbolic_Subdivision).
From ELAN's source: TimeOrderImpl and TierImpl.proposeTimeFor, SymbolicSubdivision, SymbolicAssociation.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from avloc.errors import FormatError
from avloc.system.text import pluralize
from avloc.types import exact

_MAX_WALKS = 20
"""Times that a slot is visited. Where annotations share their ends, each may lead along all others."""

Span = tuple[Fraction, Fraction]
_MAX_DEPTH = 50
"""Of tiers and annotations that refer to each other; documents of ELAN have a few levels."""


class DocumentTimes:
    """Times of the annotations of a document.

    Raises:
        FormatError: a slot, tier or annotation that the document refers to is missing, or refers to itself.
    """

    def __init__(self, path: Path | str, root: ET.Element) -> None:
        self._path = path
        self._slots = {s.get("TIME_SLOT_ID", ""): self._value(s) for s in root.iter("TIME_SLOT")}
        self._neighbours = _aligned_neighbours(self._slots)
        self._tiers = {tier.get("TIER_ID", ""): tier for tier in root.iter("TIER")}
        self._kinds = {t.get("LINGUISTIC_TYPE_ID"): t.get("CONSTRAINTS") for t in root.iter("LINGUISTIC_TYPE")}
        self._owner = {
            a.get("ANNOTATION_ID", ""): (a, tier)
            for tier in self._tiers.values()
            for a in tier.iter()
            if a.tag in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION")
        }
        self._chains: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
        self._proposed: dict[tuple[str, str], int | None] = {}
        self._shares: dict[str, dict[str, tuple[int, int]]] = {}
        self._placed = self._nowhere = self._walked = 0

    def of_tier(self, tier: ET.Element) -> Iterator[tuple[ET.Element, Span]]:
        """Annotations of a tier with their start and end in seconds; those that ELAN cannot place are left out."""
        for annotation in tier.iter():
            if annotation.tag not in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
                continue
            span = self._span(annotation, tier)
            if span is None:
                self._nowhere += 1
                continue
            slots = [annotation.get(f"TIME_SLOT_REF{k}", "") for k in (1, 2)]
            self._placed += any(self._slots.get(slot) is None for slot in slots)
            yield annotation, (Fraction(span[0], 1000), Fraction(span[1], 1000))

    def notes(self) -> list[str]:
        """What was placed, and what could not be."""
        said = (
            (self._placed, "placed {} without own times as ELAN shows them"),
            (self._nowhere, "left out {} without times, with nothing to place them by"),
        )
        return [f"{self._path}: {text.format(pluralize(n, 'annotation'))}" for n, text in said if n]

    def _value(self, slot: ET.Element) -> int | None:
        value = slot.get("TIME_VALUE")
        try:
            return None if value is None else int(exact(value))
        except ValueError:
            name = slot.get("TIME_SLOT_ID")
            raise FormatError(
                f"{self._path}: time slot {name!r}: expected a time in milliseconds, got {value!r}"
            ) from None

    def _span(self, annotation: ET.Element, tier: ET.Element, depth: int = 0) -> tuple[int, int] | None:
        name = annotation.get("ANNOTATION_ID")
        if depth > _MAX_DEPTH:
            raise FormatError(f"{self._path}: annotation {name!r} refers to itself; correct the document in ELAN")
        if annotation.tag == "REF_ANNOTATION":
            return self._share(annotation, tier, depth)
        slots = [annotation.get(f"TIME_SLOT_REF{k}", "") for k in (1, 2)]
        for slot in slots:
            if slot not in self._slots:
                raise FormatError(f"{self._path}: annotation {name!r}: its time slot {slot!r} is missing")
        start, end = (self._time(slot, tier, depth) for slot in slots)
        return None if start is None or end is None else (start, end)

    def _time(self, slot: str, tier: ET.Element, depth: int) -> int | None:
        """Time of a slot as seen from a tier, in milliseconds."""
        value = self._slots[slot]
        if value is not None:
            return value
        if depth > _MAX_DEPTH:
            raise FormatError(f"{self._path}: tier {tier.get('TIER_ID')!r} is its own parent; correct the document")
        name, parent = tier.get("TIER_ID", ""), tier.get("PARENT_REF")
        if parent is None:
            start, end, number, count = self._neighbours[slot]
            return _part(start, end, number, count)
        if parent not in self._tiers:
            raise FormatError(f"{self._path}: tier {name!r}: its parent {parent!r} is missing")
        if (name, slot) not in self._proposed:
            into, out_of = self._chain(tier)
            run = [*reversed(self._walk(slot, into)), slot, *self._walk(slot, out_of)]
            self._walked += len(run)
            if self._walked > _MAX_WALKS * (_MAX_DEPTH + len(self._slots)):
                raise FormatError(f"{self._path}: tier {name!r}: too many annotations share their time slots")
            # the ends of a chain have their time from the parent tier
            start, end = (self._time(s, self._tiers[parent], depth + 1) for s in (run[0], run[-1]))
            for number, s in enumerate(run):
                self._proposed[name, s] = _part(start, end, number, len(run) - 1)
            self._proposed[name, run[-1]] = end
        return self._proposed[name, slot]

    def _chain(self, tier: ET.Element) -> tuple[dict[str, str], dict[str, str]]:
        """({end slot: start slot}, {start slot: end slot}) of the annotations of a tier."""
        name = tier.get("TIER_ID", "")
        if name not in self._chains:
            ends = [
                (a.get("TIME_SLOT_REF1", ""), a.get("TIME_SLOT_REF2", "")) for a in tier.iter("ALIGNABLE_ANNOTATION")
            ]
            self._chains[name] = {b: a for a, b in ends}, dict(ends)
        return self._chains[name]

    def _walk(self, slot: str, links: dict[str, str]) -> list[str]:
        """The slots after this one along the links, to the first with a value or the last one."""
        run: list[str] = []
        here = slot
        while here in links and len(run) <= len(links):
            here = links[here]
            if here not in self._slots:
                raise FormatError(f"{self._path}: the time slot {here!r} is missing")
            run.append(here)
            if self._slots[here] is not None:
                break
        return run

    def _share(self, annotation: ET.Element, tier: ET.Element, depth: int) -> tuple[int, int] | None:
        parent = annotation.get("ANNOTATION_REF", "")
        if parent not in self._owner:
            name = annotation.get("ANNOTATION_ID")
            raise FormatError(f"{self._path}: annotation {name!r} refers to {parent!r}, which is missing")
        whole = self._span(*self._owner[parent], depth + 1)
        if whole is None or self._kinds.get(tier.get("LINGUISTIC_TYPE_REF")) != "Symbolic_Subdivision":
            return whole
        number, count = self._numbered(tier)[annotation.get("ANNOTATION_ID", "")]
        length = whole[1] - whole[0]
        return whole[0] + number * length // count, whole[0] + (number + 1) * length // count

    def _numbered(self, tier: ET.Element) -> dict[str, tuple[int, int]]:
        """{annotation: (its number among those of its parent, their count)}, in order of PREVIOUS_ANNOTATION."""
        name = tier.get("TIER_ID", "")
        if name not in self._shares:
            families: dict[str, dict[str, str]] = {}
            for a in tier.iter("REF_ANNOTATION"):
                family = families.setdefault(a.get("ANNOTATION_REF", ""), {})
                family[a.get("ANNOTATION_ID", "")] = a.get("PREVIOUS_ANNOTATION", "")
            self._shares[name] = {
                child: (number, len(family))
                for family in families.values()
                for number, child in enumerate(_in_order(family))
            }
        return self._shares[name]


def _part(start: int | None, end: int | None, number: int, count: int) -> int | None:
    return None if start is None or end is None else start + number * ((end - start) // max(1, count))


def _aligned_neighbours(slots: dict[str, int | None]) -> dict[str, tuple[int | None, int | None, int, int]]:
    """{slot without a value: (time before, time after, its number after the former, number of parts between them)}."""
    found: dict[str, tuple[int | None, int | None, int, int]] = {}
    waiting: list[str] = []
    last: int | None = 0  # ELAN begins at 0 where no slot before has a value
    for slot, value in [*slots.items(), ("", None)]:
        if value is None and slot:
            waiting.append(slot)
            continue
        found |= {s: (last, value, k, len(waiting) + 1) for k, s in enumerate(waiting, start=1)}
        waiting, last = [], value
    return found


def _in_order(previous: dict[str, str]) -> list[str]:
    """Annotations in order, each after its previous one; in order of the document where there is none."""
    following = {before: name for name, before in previous.items() if before in previous}
    ordered: dict[str, None] = {}
    for name in [n for n, before in previous.items() if before not in previous] + list(previous):
        here: str | None = name
        while here is not None and here not in ordered:
            ordered[here] = None
            here = following.get(here)
    return list(ordered)
