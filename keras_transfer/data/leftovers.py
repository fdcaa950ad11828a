"""Names that systems and archive programs leave beside a person's files, and formats of pictures that are not read."""

from __future__ import annotations

import os

_FOLDERS = frozenset(
    [
        "__macosx",
        "@eadir",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "__pycache__",
    ]
)
_FILES = frozenset(["thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "picasa.ini"])

UNREAD_SUFFIXES = frozenset(
    [
        ".heic",
        ".heif",
        ".hif",
        ".avif",
        ".jxl",
        ".jp2",
        ".j2k",
        ".svg",
        ".psd",
        ".xcf",
        ".eps",
        ".pdf",
        ".ico",
        ".tga",
        ".exr",
        ".hdr",
        ".dng",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".raf",
        ".orf",
        ".rw2",
        ".raw",
        ".dcm",
        ".nii",
        ".fits",
        ".npy",
        ".mp4",
        ".mov",
    ]
)
"""Extensions, in lower case, of pictures and films that are not read without help, but may be a person's data."""


def is_leftover(name: str) -> bool:
    """Say whether a file or folder of this name belongs to the system: hidden, or one of the known names."""
    return name.startswith(".") or name.lower() in _FOLDERS or name.lower() in _FILES


def suffix_of(name: str) -> str:
    """Return the extension in lower case, with its dot."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - called for every file
