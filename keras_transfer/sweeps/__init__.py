"""Search for better settings with Optuna. Importing this package imports neither Optuna nor a framework."""

from keras_transfer.sweeps.sweep import sweep

__all__ = ["sweep"]
