"""What people hold in memory for an image: arrays, tensors of any framework, PIL pictures, encoded bytes, paths.

No framework is imported: an object belongs to one that is imported already, and is known by the name of its type.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.data.images.depth import FULL, Span
from keras_transfer.data.images.given import CHANNELS
from keras_transfer.data.images.store import ArrayImage, BadImage, EncodedImage, Image
from keras_transfer.errors import UserError

ACCEPTED = "a path, an array or tensor of (height, width[, 1, 3 or 4]), a PIL picture, or the bytes of an image file"


def is_of(value: object, *types: str) -> bool:
    """Return whether the class of ``value``, or one that it inherits from, has one of these names (``"torch.Tensor"``).

    A name matches if the module starts and the class ends with it: modules inside a package are its own affair.
    """
    for kind in type(value).__mro__:
        for name in types:
            package, _, last = name.rpartition(".")
            inside = kind.__module__ == package or kind.__module__.startswith(f"{package}.")
            if kind.__name__ == last and inside:
                return True
    return False


def is_tensor(value: object) -> bool:
    """Return whether ``value`` is a NumPy array or a tensor of torch, TensorFlow or JAX."""
    if isinstance(value, (np.ndarray, np.generic)):
        return True
    return is_of(
        value,
        "torch.Tensor",
        "tensorflow.Tensor",
        "tensorflow.EagerTensor",
        "tensorflow.RaggedTensor",
        "jax.Array",
        "jax.ArrayImpl",
        "jaxlib.Array",
        "jaxlib.ArrayImpl",
        "keras.Variable",
        "keras.KerasVariable",
    )


def is_picture(value: object) -> bool:
    """Return whether ``value`` is a PIL picture."""
    return is_of(value, "PIL.Image")


def is_encoded(value: object) -> bool:
    """Return whether ``value`` is a mapping with ``bytes`` or ``path``, as Hugging Face's ``Image(decode=False)`` gives it."""
    return isinstance(value, Mapping) and bool(value) and set(value) <= {"bytes", "path"}


def is_image(value: object) -> bool:
    """Return whether ``value`` can be one image."""
    if is_tensor(value):
        return _rank(value) in (2, 3)
    return is_picture(value) or is_encoded(value) or isinstance(value, (str, os.PathLike, bytes, bytearray))


def is_single(value: object) -> bool:
    """Return whether ``value`` is one image; an array (n, height, width) is several, unless n can be channels of a torch tensor."""
    if not is_tensor(value):
        return is_image(value)
    shape = value.shape  # type: ignore[attr-defined]
    if len(shape) != 3:
        return len(shape) == 2
    return shape[-1] in CHANNELS or (is_of(value, "torch.Tensor") and shape[0] in CHANNELS)


def host_array(value: Any) -> np.ndarray:
    """Return a tensor of any framework as a NumPy array."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        raise UserError("masked values, which would be read as they are: leave them out")
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if is_of(value, "torch.Tensor"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def channels_last(array: np.ndarray, prefer_first: bool) -> np.ndarray:
    """Return an image (h, w), (h, w, c) or (c, h, w) with the channels at the end, or a batch of such images.

    Args:
        array: of two or three dimensions, or four for a batch.
        prefer_first: where both readings are possible, the channels come first: the custom of torch.
    """
    if array.ndim not in (3, 4):
        return array
    first, last = array.shape[-3] in CHANNELS, array.shape[-1] in CHANNELS
    return np.moveaxis(array, -3, -1) if first and (prefer_first or not last) else array


class Pixels:
    """Turns images into uint8 arrays; what the numbers mean is learned from the first of them.

    Floating-point pixels are 0..1 or 0..255, which only several images tell: an image that is nearly black may be either.
    """

    def __init__(self) -> None:
        self.scale: float | None = None

    def learn(self, images: Iterable[object], what: str) -> None:
        """Find out the range of floating-point pixels.

        Raises:
            UserError: they are standardized, or in no known range.
        """
        floats = [array for image in images if is_tensor(image) and (array := host_array(image)).dtype.kind == "f"]
        floats = [array for array in floats if array.size]
        if not floats:
            return
        low, high = min(float(array.min()) for array in floats), max(float(array.max()) for array in floats)
        if not (low >= 0 and high <= 255):  # NaN too
            raise UserError(
                f"{what}: pixels from {low:.4g} to {high:.4g}; expected 0..255 or 0..1, not standardized: "
                "the classifier does that itself"
            )
        self.scale = 255.0 if high <= 1 else 1.0

    def array(self, value: Any, name: str) -> np.ndarray:
        """Return an array or tensor as uint8 (h, w) or (h, w, 1, 3 or 4).

        Raises:
            BadImage: another shape, or numbers outside the range.
        """
        array = channels_last(host_array(value), is_of(value, "torch.Tensor"))
        if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[-1] not in CHANNELS):
            raise BadImage(name, f"expected an array (height, width[, 1, 3 or 4]), received the shape {array.shape}")
        if array.dtype == np.uint8:
            return array
        if array.dtype.kind == "b":
            return array.astype(np.uint8) * 255
        if array.dtype.kind not in "iuf":
            raise BadImage(name, f"expected numbers 0..255, received dtype {array.dtype}")
        scale = 1.0
        if array.dtype.kind == "f":
            if self.scale is None:
                self.learn([array], name)
            scale = self.scale or 1.0
        values = np.rint(array * scale) if scale != 1.0 or array.dtype.kind == "f" else array
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 255):
            limit = "0..1, as in the images before" if scale != 1.0 else "0..255"
            raise BadImage(name, f"pixels from {array.min():.4g} to {array.max():.4g}, expected {limit}")
        return values.astype(np.uint8)

    def open(self, value: Any, name: str, depth: Span | None = None) -> Image:
        """Return one image, not necessarily decoded.

        Args:
            value: the image.
            name: its name.
            depth: values of 16-bit images that become 0 and 255; None: 0 and 65535.

        Raises:
            BadImage: it is none, or cannot be read.
        """
        if is_encoded(value):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, (bytes, bytearray)):
            return EncodedImage(name, bytes(value), depth)
        if is_picture(value):
            return _picture(value, name, depth)
        if isinstance(value, (str, os.PathLike)):
            return _file(value, name, depth)
        if is_tensor(value):
            return array_image(self.array(value, name))
        if isinstance(value, EncodedImage):
            return value.at_depth(depth)
        if isinstance(value, ArrayImage):
            return value
        raise BadImage(name, f"expected {ACCEPTED}, received {type(value).__name__}")


def array_image(array: np.ndarray) -> ArrayImage:
    """Return uint8 (h, w) or (h, w, 1, 3 or 4) as an image; four channels are composited on white."""
    if array.ndim == 3 and array.shape[-1] == 4:
        from keras_transfer.data.images.decode import on_white

        array = on_white(array)
    return ArrayImage(np.ascontiguousarray(array if array.ndim == 3 else array[..., None]))


def file_of(picture: Any) -> str | None:
    """Return the file of a PIL picture that has not been decoded, and so not been changed either."""
    name = getattr(picture, "filename", None)
    return str(name) if name and getattr(picture, "fp", None) is not None and Path(name).is_file() else None


def _picture(picture: Any, name: str, depth: Span | None) -> Image:
    """Return a PIL picture: its file if it is only opened, so that the pixels are those of a file in a folder."""
    from keras_transfer.data.images.decode import DecodeError, pillow_pixels

    if (file := file_of(picture)) is not None:
        return _file(file, name, depth)
    try:
        seen: list[Span] = []
        pixels = pillow_pixels(picture, depth or FULL, seen)
        return ArrayImage(pixels, seen[0] if seen else None)
    except (DecodeError, OSError, ValueError) as error:
        raise BadImage(name, str(error) or type(error).__name__) from None


def _file(path: str | os.PathLike[str], name: str, depth: Span | None) -> EncodedImage:
    from keras_transfer.data.images.store import FileStore

    try:
        return FileStore([path], depth=depth).open(0)
    except BadImage as error:
        raise BadImage(name, error.reason) from None


def _rank(value: Any) -> int:
    return len(value.shape)
