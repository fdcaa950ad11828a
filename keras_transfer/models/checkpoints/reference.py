"""Names of checkpoints: ``hf:ORG/NAME[@REVISION]``, ``timm:NAME[@REVISION]``, or the path of a folder.

``timm:NAME`` is short for ``hf:timm/NAME``. Downloads are those of the library huggingface_hub, with its cache, token and offline mode. Only
configurations, the model card and ``.safetensors`` files are fetched, never a pickle.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

from keras_transfer.errors import MissingExtra, UserError

PREFIXES = ("hf:", "timm:")
_FILES = [
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "README.md",
    "*.safetensors",
    "model.safetensors.index.json",
]
_LAYOUT = "a folder with config.json and model.safetensors"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def is_reference(name: str) -> bool:
    """Return whether ``name`` means a checkpoint, rather than a backbone of the table."""
    if name.startswith("hub:"):
        return False
    return name.startswith(PREFIXES) or "/" in name or "\\" in name or (bool(name) and _is_checkpoint(Path(name)))


def find(name: str) -> Path:
    """Return the local folder of a checkpoint; download it if it is not there yet.

    Args:
        name: ``hf:ORG/NAME``, ``timm:NAME``, either with ``@REVISION``, or the path of a folder.

    Raises:
        UserError: there is no such folder, or it cannot be downloaded.
        MissingExtra: a download without huggingface_hub.
    """
    if name.startswith(PREFIXES):
        return _download(name)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise UserError(f"backbone {name!r}: no such folder (expected {_LAYOUT}, hf:ORG/NAME or timm:NAME)")
    if not _is_checkpoint(folder):
        raise UserError(f"backbone {name!r}: the folder has no config.json (expected {_LAYOUT})")
    return folder


def downloaded() -> list[str]:
    """Return the names, ``hf:ORG/NAME``, of the models in the cache of huggingface_hub."""
    try:
        from huggingface_hub import CacheNotFound, scan_cache_dir
    except ImportError:
        return []
    try:
        return sorted(f"hf:{one.repo_id}" for one in scan_cache_dir().repos if one.repo_type == "model")
    except (CacheNotFound, OSError):
        return []


def _is_checkpoint(folder: Path) -> bool:
    return (folder.expanduser() / "config.json").is_file()


@functools.lru_cache(maxsize=64)  # each call of the library asks the network for the newest revision
def _download(name: str) -> Path:
    prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
    repository, _, revision = name.removeprefix(prefix).partition("@")
    if prefix == "timm:":
        repository = f"timm/{repository.removeprefix('timm/')}"
    if not _REPOSITORY.fullmatch(repository):
        raise UserError(f"backbone {name!r}: expected hf:ORG/NAME or timm:NAME, each with @REVISION if wanted")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtra("huggingface-hub", "hf", f"backbone {name}") from error
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=_FILES))
    except Exception as error:  # its errors are those of several HTTP libraries
        raise UserError(f"backbone {name!r} cannot be downloaded: {_reason(error)}; {_advice()}") from error


def _reason(error: Exception) -> str:
    kind = type(error).__name__
    if kind == "GatedRepoError":
        return "its owner asks for consent: accept the licence on its page at huggingface.co, then log in with `hf auth login`"
    if kind == "RepositoryNotFoundError":
        return "there is no such repository, or it is private"
    if kind == "RevisionNotFoundError":
        return "the repository has no such revision"
    if kind in ("LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError"):
        return "no network, and it is not in the cache"
    return " ".join(str(error).split())[:160] or kind


def _advice() -> str:
    return f"without a network, give the path of {_LAYOUT}, or use the embedded backbone efficientnet_lite0"
