"""Packages that only some tasks need."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType


def require(module: str, extra: str) -> None:
    """ImportError that names the extra unless `module` is installed; imports nothing."""
    if importlib.util.find_spec(module) is None:
        raise ImportError(f"{module} is not installed; it comes with: pip install 'mrt-lib[{extra}]'")


def load(module: str, extra: str) -> ModuleType:
    """The imported module; ImportError names the extra that brings it."""
    require(module, extra)
    return importlib.import_module(module)
