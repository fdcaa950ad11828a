"""The base of everything that users fill in: keys with types, and errors in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from keras_transfer.arguments.problems import described
from keras_transfer.errors import UserError, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic._internal._model_construction import ModelMetaclass as _Meta
    from typing_extensions import Self
else:
    _Meta = type(BaseModel)


class _Called(_Meta):
    """Makes what a program writes as ``Phase(…)`` raise UserError.

    pydantic does not call the class where it builds a section inside of another, so its own errors still carry the whole place.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if args and (name := getattr(cls, "_in_front", None)):
            args, kwargs = args[1:], {name: args[0], **kwargs} if name not in kwargs else kwargs
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            raise UserError(described(error, cls, cls.__name__)) from None  # type: ignore[arg-type]
        except TypeError:  # a call that Python itself cannot match with the parameters
            raise UserError(f"{cls.__name__} takes named arguments ({', '.join(cls.model_fields)})") from None  # type: ignore[attr-defined]


class Section(BaseModel, metaclass=_Called):
    """A part of the configuration: immutable; unknown keys are errors.

    A class may have a key that a call can give without its name: `_in_front`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Build a section from a mapping; raise UserError, with a line for every problem."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise UserError(described(error, cls)) from None

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other values of some keys; the values are taken as they are, unknown keys are refused."""
        for key in update or ():
            if key not in type(self).model_fields:
                raise unknown("key", key, type(self).model_fields)
        return super().model_copy(update=update, deep=deep)
