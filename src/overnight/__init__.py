"""overnight: batch work with LLMs through batch APIs, at half price, losing no row and paying for none twice."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overnight.api import Client, Results, run
    from overnight.spec import Spec
    from overnight.types import Selection

__version__ = "0.1.0"
__all__ = ["Client", "Results", "Selection", "Spec", "__version__", "run"]


def __getattr__(name: str) -> Any:
    """Load the front door when it is first used: the command line's help needs none of it."""
    if name in {"Client", "Results", "run"}:
        return getattr(importlib.import_module("overnight.api"), name)
    if name == "Spec":
        return importlib.import_module("overnight.spec").Spec
    if name == "Selection":
        return importlib.import_module("overnight.types").Selection
    raise AttributeError(f"module 'overnight' has no attribute {name!r}")
