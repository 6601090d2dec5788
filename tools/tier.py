"""How large a notebook's runs are: full, as committed, or small, to show that every cell works."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

TIERS = ("full", "smoke")


def tier() -> str:
    """What the environment variable MRT_TIER says, "full" unless set; ValueError for an unknown name."""
    name = os.environ.get("MRT_TIER") or "full"
    if name not in TIERS:
        raise ValueError(f"MRT_TIER must be {' or '.join(TIERS)}, got {name!r}")
    return name


def sizes(**pairs: tuple[Any, Any]) -> SimpleNamespace:
    """The named sizes of this tier, and its name as `tier`::

        from tools.tier import sizes
        size = sizes(problems=(200, 12), steps=(60, 3))
        size.problems

    Args:
        **pairs: each a full and a smoke value.
    """
    name = tier()
    chosen = {key: pair[TIERS.index(name)] for key, pair in pairs.items()}
    return SimpleNamespace(tier=name, **chosen)
