"""How features were made, as text: in feature files and in the descriptions of .npy files."""

from __future__ import annotations

from collections.abc import Mapping

from avloc.formats.streams import recorded_streams
from avloc.types import Provenance

MODALITIES = ("visual", "audio")


def write_source(source: Provenance) -> dict[str, str]:
    """`source` as in files: a backbone's name, "none" or "none: reason" for each modality, then the details."""
    made = {"path": source.details["path"]} if "path" in source.details else {}
    for name in MODALITIES:
        if name in source.absent_because:
            reason = source.absent_because[name]
            made[name] = f"none: {reason}" if reason else "none"
        elif name in source.backbones:
            made[name] = source.backbones[name]
    return {**made, **source.details}


def read_source(facts: Mapping[str, str]) -> Provenance:
    """What `write_source` wrote. ValueError if it is damaged."""
    made = {name: facts[name] for name in MODALITIES if name in facts}
    absent = {name: text[len("none: ") :] for name, text in made.items() if text == "none" or text.startswith("none: ")}
    backbones = {name: text for name, text in made.items() if name not in absent}
    source = Provenance(backbones, absent, {key: text for key, text in facts.items() if key not in made})
    recorded_streams(source)  # ValueError if damaged
    return source
