from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """What is loaded by now stays: no search for garbage has to look at it again."""
    gc.collect()
    gc.freeze()
