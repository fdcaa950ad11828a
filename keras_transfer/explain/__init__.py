"""Explanations of a model: Grad-CAM and occlusion maps, the images with the highest losses, residual block sizes.

Importing this package imports neither Keras nor a framework.
"""

from __future__ import annotations

import importlib
from typing import Any

# No module is named like a function in it: an imported submodule becomes an attribute of the package and hides it.
_PLACES = {
    "GradCam": "grad_cam",
    "gradcam": "grad_cam",
    "occlusion": "occlude",
    "Residuals": "blocks",
    "residuals": "blocks",
    "top_losses": "losses",
    "heat": "colours",
    "overlay": "colours",
}

__all__ = list(_PLACES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
