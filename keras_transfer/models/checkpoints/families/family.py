"""What a family of checkpoints consists of."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_transfer.models.checkpoints.record import Facts
from keras_transfer.models.checkpoints.tensors import Part

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Family:
    """A kind of network, with the names that timm and transformers give it.

    ``build(checkpoint, image_size)`` returns a functional ``keras.Model`` of plain Keras layers. Its input is the preprocessed picture
    (batch, height, width, 3); its output what the checkpoint's own classifier reads: a vector (batch, channels), or a feature map (batch,
    height, width, channels) whose mean that is. Every layer with weights is named ``GROUP_…`` (see :class:`.tensors.Part`), the groups from
    input to output, the first ``stem``, then one for each block. It takes all tensors, except those that ``left_out`` names.

    Attributes:
        name: of the family.
        timm: regular expression that matches the whole of timm's architecture names (without tags).
        transformers: values of ``model_type``.
        build: builds the network.
        left_out: regular expressions, each for the whole name of tensors that are not part of the features: the classifier, other towers,
            buffers.
        examples: some names, which errors and documentation show.
        min_size: smallest side in pixels.
        fixed_size: whether the network is built for one picture size, as transformers are.
        paper: link.
    """

    name: str
    timm: str
    transformers: tuple[str, ...]
    build: Callable[[Part, tuple[int, int]], keras.Model]
    left_out: tuple[str, ...]
    examples: tuple[str, ...]
    min_size: int = 32
    fixed_size: bool = False
    paper: str = ""

    def knows(self, facts: Facts) -> bool:
        """Return whether a checkpoint is of this family."""
        if facts.library == "timm":
            return bool(self.timm) and re.fullmatch(self.timm, facts.architecture) is not None
        return facts.architecture in self.transformers

    def leaves_out(self, key: str) -> bool:
        """Return whether a tensor is left out on purpose."""
        return any(re.fullmatch(pattern, key) for pattern in self.left_out)
