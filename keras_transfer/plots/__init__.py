"""The figures of a run. Each function draws one and writes it to a PNG, atomically.

No global state: pyplot is never imported, and the user's matplotlib settings are neither used nor changed.
"""

from keras_transfer.plots.blocks import residual_blocks
from keras_transfer.plots.calibration import reliability
from keras_transfer.plots.history import curves, iterations
from keras_transfer.plots.images import predicted_files, prediction_grid
from keras_transfer.plots.matrix import confusion
from keras_transfer.plots.novelty import novelty_histogram
from keras_transfer.plots.precision_recall import precision_recall
from keras_transfer.plots.rates import rate_sweeps
from keras_transfer.plots.runs import compared_curves, comparison
from keras_transfer.plots.sweeps import importance, parallel_coordinates, sweep_history

__all__ = [
    "compared_curves",
    "comparison",
    "confusion",
    "curves",
    "importance",
    "iterations",
    "novelty_histogram",
    "parallel_coordinates",
    "precision_recall",
    "predicted_files",
    "prediction_grid",
    "rate_sweeps",
    "reliability",
    "residual_blocks",
    "sweep_history",
]
