"""What a path says about the data in it."""

from __future__ import annotations

from pathlib import Path


def source_of(data: str) -> dict[str, str]:
    """Return the source of a path, and the path as its option: a folder, ``.csv``, ``.npz`` or a list ``.txt``."""
    suffix = Path(data).suffix.lower()
    source = {".csv": "csv", ".npz": "arrays", ".txt": "list"}.get(suffix, "folder")
    return {"source": source, "path": data}
