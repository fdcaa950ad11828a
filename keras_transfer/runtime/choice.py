"""A setting together with the reason for its value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """A chosen setting and the reason for it, as printed and kept in the run's manifest."""

    value: str
    why: str

    def __str__(self) -> str:
        return f"{self.value} ({self.why})"
