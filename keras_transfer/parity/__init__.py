"""Parity: the same weights and batches through every backend, each in a process of its own, compared."""

from keras_transfer.parity.command import compare_backends

__all__ = ["compare_backends"]
