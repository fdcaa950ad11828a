"""Why the model says what it says: Grad-CAM and occlusion maps, and the pictures with the highest losses.

Importing this package imports neither Keras nor a framework.
"""

from __future__ import annotations

import importlib
from typing import Any

_PLACES = {
    "GradCam": "gradcam",
    "gradcam": "gradcam",
    "occlusion": "occlusion",
    "top_losses": "losses",
    "heat": "overlay",
    "overlay": "overlay",
}

__all__ = list(_PLACES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
