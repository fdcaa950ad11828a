"""NASNet-A mobile and large (keras.applications)."""

from __future__ import annotations

from typing import Any

from keras_transfer.models.backbones.applications import application
from keras_transfer.models.preprocessing import TF

# Layers whose name ends in a number other than that of a normal cell: those that Keras names by running numbers, and
# the stem and reduction cells.
_OTHERS = r"(?!(activation|add|concatenate|zero_padding2d|cropping2d)_\d+$)(?!.*_(reduce|stem)_)"


def _cells(first: int, last: int) -> str:
    """Match the layers of normal cells ``first`` to ``last``, whose names end in the cell's number."""
    return rf"{_OTHERS}.*_({'|'.join(str(i) for i in range(first, last + 1))})$"


def _groups(n: int) -> tuple[tuple[str, str], ...]:
    """The stem and three sequences of ``n`` normal cells, each with the reduction cell before it."""
    return (
        ("stem", r"stem_|.*_stem_[12]$"),
        ("cells1", _cells(0, n - 1)),
        ("cells2", rf".*_reduce_{n}$|{_cells(n + 1, 2 * n)}"),
        ("cells3", rf".*_reduce_{2 * n}$|{_cells(2 * n + 1, 3 * n)}"),
    )


_NASNET: dict[str, Any] = {
    "family": "NASNet",
    "preprocessing": TF,
    "licence": "Apache-2.0",
    "paper": "Zoph et al. 2017, https://arxiv.org/abs/1707.07012",
}

RECORDS = (
    # Keras refuses to build NASNetMobile on torch ("an outstanding bug").
    application("nasnet_mobile", "NASNetMobile", image_size=224, groups=_groups(4), not_on=("torch",), **_NASNET),
    application("nasnet_large", "NASNetLarge", image_size=331, groups=_groups(6), **_NASNET),
)
