"""Check that an HDF5 file holds nothing but numeric arrays stored in the file itself.

HDF5 also supports links to other files, virtual arrays made of other files, data in external raw files, compression
by plug-ins that it loads, and unallocated arrays of any declared shape. Keras uses none of these.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from keras_transfer.safety import Refused

MAX_OBJECTS = 200_000
MAX_DEPTH = 64
MAX_NAMES = 1 << 16
"""Maximum elements of an attribute (older files list layer names in one)."""


def check_hdf5(path: str | os.PathLike[str], name: str | os.PathLike[str] | None = None) -> int:
    """Check an HDF5 file without reading its arrays.

    Args:
        path: the file.
        name: its name in errors; default: ``path``.

    Returns:
        The total number of array elements.

    Raises:
        Refused: anything but groups and uncompressed numeric arrays stored in this file.
    """
    import h5py

    name = path if name is None else name
    size = Path(path).stat().st_size
    try:
        with h5py.File(path, "r") as file:
            walk = _Walk(name, size)
            walk.group(file, 0)
            return walk.numbers
    except Refused:
        raise
    # h5py raises many kinds of errors for damaged files.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise Refused(name, f"not a readable HDF5 file: {reason}") from None


class _Walk:
    def __init__(self, name: str | os.PathLike[str], size: int):
        self.name, self.left, self.numbers = name, size, 0
        self.seen: set[int] = set()

    def refuse(self, item: Any, reason: str) -> Refused:
        return Refused(self.name, f"HDF5 object {str(item)[:200]!r} {reason}")

    def group(self, group: Any, depth: int) -> None:
        import h5py

        self.once(group)
        self.attributes(group)
        if depth > MAX_DEPTH:
            raise self.refuse(group.name, f"is nested more than {MAX_DEPTH} deep")
        for key in group:
            place = f"{group.name.rstrip('/')}/{key}"
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise self.refuse(place, f"is a link of the kind {type(link).__name__}")
            # This opens the object, which is safe: a hard link points into the same file.
            kind = group.get(key, getclass=True)
            if kind is h5py.Group:
                self.group(group[key], depth + 1)
            elif kind is h5py.Dataset:
                self.dataset(group[key])
            else:
                raise self.refuse(place, f"is a {getattr(kind, '__name__', kind)}, expected a group or an array")

    def once(self, item: Any) -> None:
        import h5py

        address = h5py.h5o.get_info(item.id).addr
        if address in self.seen:
            raise self.refuse(item.name, "is reached by two names")
        self.seen.add(address)
        if len(self.seen) > MAX_OBJECTS:
            raise self.refuse(item.name, f"is one of more than {MAX_OBJECTS}")

    def dataset(self, dataset: Any) -> None:
        self.once(dataset)
        self.attributes(dataset)
        if dataset.is_virtual:
            raise self.refuse(dataset.name, "is a virtual array, made of other files")
        if dataset.external:
            raise self.refuse(dataset.name, "has its data in another file (external storage)")
        if dataset.id.get_create_plist().get_nfilters():
            raise self.refuse(dataset.name, "is compressed or filtered, which Keras's files never are")
        if not _numeric(dataset.dtype):
            raise self.refuse(dataset.name, f"holds {_described(dataset.dtype)}, expected numbers")
        if dataset.shape is None:
            raise self.refuse(dataset.name, "has no shape")
        count = math.prod(dataset.shape)
        unit = max(count, math.prod(dataset.chunks or (0,)))
        claimed, stored = unit * dataset.dtype.itemsize, dataset.id.get_storage_size()
        self.left -= claimed
        if claimed > stored or self.left < 0:
            raise self.refuse(
                dataset.name, f"declares {claimed} bytes, more than the file holds ({stored} stored): a shape bomb"
            )
        self.numbers += count

    def attributes(self, item: Any) -> None:
        for key in item.attrs:
            attribute = item.attrs.get_id(key)
            count = math.prod(attribute.shape or ())
            if count > MAX_NAMES or not (_numeric(attribute.dtype) or _text(attribute.dtype)):
                what = f"{count} × {_described(attribute.dtype)}"
                raise self.refuse(item.name, f"has the attribute {key[:100]!r} of {what}, expected text or numbers")
            if count * attribute.dtype.itemsize > 16 << 20:
                raise self.refuse(item.name, f"has the attribute {key[:100]!r} of more than 16 MiB")


def _numeric(dtype: Any) -> bool:
    if dtype.fields is not None or dtype.subdtype is not None:
        return False
    # Keras stores bfloat16 as an opaque type of two bytes.
    return dtype.kind in "fiub" or (dtype.kind == "V" and dtype.itemsize == 2)


def _text(dtype: Any) -> bool:
    import h5py

    return dtype.kind == "S" or h5py.check_string_dtype(dtype) is not None


def _described(dtype: Any) -> str:
    return "objects or references" if dtype.hasobject else f"the type {dtype}"
