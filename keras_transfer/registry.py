"""Tables of named records that other installed packages extend through entry points."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from keras_transfer.errors import UserError, unknown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class Registry(MutableMapping[str, T], Generic[T]):
    """Name → record: the built-in records, followed by the entry points of a group.

    The name of an entry point is that of its record. Entry points are only searched for when a name is not built in or
    the names are listed, and only imported when their record is used, so that other packages neither delay nor break
    the rest.

    Args:
        kind: what a record stands for, e.g. ``"backbone"``, for errors.
        group: entry point group, e.g. ``"keras_transfer.backbones"``.
        record: type of the records.
        built_in: the first records; a program may set more of them.
    """

    def __init__(self, kind: str, group: str, record: type[T], built_in: Mapping[str, T] | None = None):
        self.kind, self.group, self.record = kind, group, record
        self.built_in = dict(built_in or {})

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        """Entry points by name; a warning names those that are ignored because their name is taken."""
        from importlib.metadata import entry_points  # takes longer than the rest of the package

        found: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.group):
            taken_by = "keras_transfer" if point.name in self.built_in else _package(found.get(point.name))
            if taken_by:
                warnings.warn(
                    f"the {self.kind} {point.name!r} of the package {_package(point)} is ignored: {taken_by} has one"
                    " of this name",
                    stacklevel=2,
                )
            else:
                found[point.name] = point
        return found

    def __getitem__(self, name: str) -> T:
        """Return a record.

        Raises:
            KeyError: there is no such record.
            UserError: it belongs to another package, and cannot be imported or is no such record.
        """
        if name in self.built_in:
            return self.built_in[name]
        return self._load(self._entry_points[name])

    def _load(self, point: EntryPoint) -> T:
        broken = f"the {self.kind} {point.name!r} of the package {_package(point)} cannot be loaded"
        try:
            record: Any = point.load()
        except Exception as error:  # another package's code can raise anything
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{broken}: {type(error).__name__}: {reason}") from error
        if not isinstance(record, self.record):
            raise UserError(f"{broken}: {point.value} is a {type(record).__name__}, not a {self.record.__name__}")
        name = getattr(record, "name", point.name)
        if name != point.name:
            raise UserError(f"{broken}: {point.value} has the name {name!r}")
        return record

    def plugin(self, name: str) -> str:
        """Return the top-level module of the installed package that a record belongs to; ``""`` if it is built in or unknown."""
        point = None if name in self.built_in else self._entry_points.get(name)
        return "" if point is None else point.value.partition(":")[0].split(".")[0]

    def lookup(self, name: str) -> T:
        """Return a record; raise UserError, with the nearest name, if there is no such record."""
        if name not in self:
            raise unknown(self.kind, name, self)
        return self[name]

    def __setitem__(self, name: str, record: T) -> None:
        self.built_in[name] = record

    def __delitem__(self, name: str) -> None:
        del self.built_in[name]

    def __contains__(self, name: object) -> bool:
        return name in self.built_in or name in self._entry_points

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.built_in, *self._entry_points)))

    def __len__(self) -> int:
        return len({**self.built_in, **self._entry_points})


def _package(point: EntryPoint | None) -> str:
    return f"{point.dist.name} {point.dist.version}" if point is not None and point.dist is not None else ""
