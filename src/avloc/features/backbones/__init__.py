"""Backbones: classes that map snippets to vectors, from this package or any other.

A backbone declares its input (frame rate and size, or sample rate and window), receives batches of snippets and returns
one row per snippet. It handles neither files nor time. Weights load when it is constructed, not when it is imported.

    protocol.py   interfaces of backbones and their cards
    catalogue.py  all backbones by name
    sources.py, families.py  where the weights come from
    network.py    runs torch networks
    appearance.py logmel.py vggish.py resnet.py i3d.py hub.py hub_audio.py  the backbones
    hub_files.py hub_load.py  models of the Hugging Face hub: their files, and loading them
"""

from __future__ import annotations

from avloc.features.backbones.catalogue import BACKBONES, all_backbones, card, download, load_backbone, status
from avloc.features.backbones.protocol import AudioBackbone, Backbone, Card, Setup, VisualBackbone

__all__ = [
    "BACKBONES",
    "AudioBackbone",
    "Backbone",
    "Card",
    "Setup",
    "VisualBackbone",
    "all_backbones",
    "card",
    "download",
    "load_backbone",
    "status",
]
