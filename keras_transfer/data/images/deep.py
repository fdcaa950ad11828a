"""16 bits per channel where Pillow has only 8: colours of TIFF and PPM files, and greys that count down from white."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from keras_transfer.data.images.structure import DecodeError

_BITS, _PHOTOMETRIC, _PLANES = 258, 262, 284  # tags of TIFF
_SWAPPED = {"L": "B", "B": "L", "N": "B" if np.little_endian else "L"}


def white_is_zero(image: Image.Image) -> bool:
    """Say whether the 16-bit greys of a TIFF begin with white; Pillow turns only those of up to 8 bits."""
    return image.mode.startswith("I") and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0


def colours(image: Any, data: bytes) -> np.ndarray | None:
    """Return the colours of an opened file with 16 bits per channel, uint16 (h, w, 3 or 4); None if it has others.

    They are as upright as Pillow makes them.

    Raises:
        DecodeError: channels that are packed one by one, of which Pillow gives the high bytes only, and these are not enough.
    """
    if image.format == "TIFF" and image.mode in ("RGB", "RGBA") and set(image.tag_v2.get(_BITS, ())) == {16}:
        if any("a" in tile.args[0] for tile in image.tile):  # Pillow divides by the transparency, in 8 bits
            return None
        high: np.ndarray = _tiff_half(data, "high").astype(np.uint16)
        if image.tag_v2.get(_PLANES) != 2 or image.tile[0].codec_name != "libtiff":
            high <<= 8
            high |= _tiff_half(data, "low")
            return high
        if high[..., :3].max(initial=0) < 128:
            raise DecodeError("fewer than 16 bits, with its channels packed apart: save it as PNG")
        return high * 257
    if image.format == "PPM" and image.mode == "RGB" and image.tile[0].codec_name == "ppm":
        most = image.tile[0].args[1]
        if most > 255:
            count = image.height * image.width * 3
            values = np.frombuffer(data, ">u2", count, image.tile[0].offset).reshape(image.height, image.width, 3)
            scaled: np.ndarray = (np.minimum(values, most).astype(np.uint32) * 65535 + most // 2) // most
            return scaled.astype(np.uint16)
    return None


def _tiff_half(data: bytes, which: str) -> np.ndarray:
    """Return the high or the low bytes of all channels: Pillow keeps the high ones, and in the other byte order those are the low ones."""
    order = "B" if data[:2] == b"MM" else "L"
    image: Any
    with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
        parts = []
        for tile in image.tile:
            mode, *rest = tile.args
            if len(mode) == 1:  # a channel that is stored apart has lost its bits there
                mode = f"{mode};16{order}"
            if which == "low":
                mode = mode[:-1] + _SWAPPED[mode[-1]]
            parts.append(tile._replace(args=(mode, *rest)))
        image.tile = parts
        return np.array(image)
