"""Images beside a table: files in a directory of its name."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any

from overnight.errors import LocalError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class ImageFiles:
    """The images of the table at this path: `answers.images/KEY.png` beside `answers.csv`."""

    def __init__(self, table: Path) -> None:
        self._beside = table.parent
        self._folder = f"{table.name.partition('.')[0] or 'answers'}.images"
        self._made = False

    def keep(self, key: Any, row: int, data: bytes, suffix: str) -> str:
        """Write one, whole or not at all, over what is there; returns its path from the table's directory. The row's
        number follows a key that cannot be the name of a file, or might be another's on a system that does not tell
        capital letters from small ones. Raises `LocalError`."""
        text = str(key)
        plain = _NAME.fullmatch(text) and text == text.lower()
        name = text if plain else f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', text)[:80].lstrip('.-')}~{row}"
        path = self._beside / self._folder / f"{name}.{suffix}"
        temporary = path.with_name(f".{secrets.token_hex(6)}.tmp")
        try:
            if not self._made:
                path.parent.mkdir(exist_ok=True)
                self._made = True
            temporary.write_bytes(data)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise LocalError(f"the image {path} cannot be written ({error.strerror or error}): make room") from error
        return f"{self._folder}/{path.name}"
