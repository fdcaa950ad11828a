"""What a path says about the data in it."""

from __future__ import annotations

import re
from pathlib import Path

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")
_SPLITS = ("train", "training")
_PATTERN = re.compile(r"[*?]|\{.*\}")


def source_of(data: str) -> dict[str, str]:
    """Return the source of a path, and the path as its option: a folder, ``.csv``, ``.npz``, a list ``.txt``, ``.parquet``, or shards."""
    suffix = Path(data).suffix.lower()
    source = {".csv": "csv", ".npz": "arrays", ".txt": "list"}.get(suffix, "folder")
    if suffix == ".parquet" or (source == "folder" and _is_parquet(data)):
        source = "parquet"
    elif source == "folder" and _is_shards(data):
        source = "shards"
    return {"source": source, "path": data}


def is_elsewhere(data: str) -> bool:
    """Return whether data are not one local file or folder: an address, or a pattern such as `train-{000..099}.tar`."""
    return bool(_ADDRESS.match(data)) or ((".tar" in data or ".parquet" in data) and bool(_PATTERN.search(data)))


def _is_shards(data: str) -> bool:
    """Return whether these are shards: an address, a pattern, or a folder with an index of shards or tar files in it."""
    if is_elsewhere(data):
        return True
    try:
        if (Path(data) / "index.npz").is_file() and (Path(data) / "index.json").is_file():
            return True
        folder = Path(data)
        if not folder.is_dir():
            return False
        own = any(folder.glob("*.tar")) and not _has_folders(folder)
        return own or any(any((folder / split).glob("*.tar")) for split in _SPLITS)
    except (OSError, ValueError):
        return False


def _is_parquet(data: str) -> bool:
    """Return whether this is a folder of Parquet files."""
    try:
        return Path(data).is_dir() and not _has_folders(Path(data)) and any(Path(data).glob("*.parquet"))
    except (OSError, ValueError):
        return False


def _has_folders(folder: Path) -> bool:
    return any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir())
