"""The counterpart of each operation of ATen, PyTorch's own: ``OPERATIONS``.

Only Keras's own layers and operations occur, so that a saved model loads with plain Keras, trains, and exports. Functions have the name and
the arguments of the operation whose counterpart they are.
"""

from keras_transfer.models.checkpoints.traced.operations import (  # noqa: F401 - they fill the table
    activations,
    arithmetic,
    parts,
    pooling,
    products,
    reductions,
    resizing,
    shapes,
    weighted,
)
from keras_transfer.models.checkpoints.traced.operations.table import OPERATIONS

__all__ = ["OPERATIONS"]
