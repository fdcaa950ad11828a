"""Parity: compare what every backend computes from the same weights and batches, each in its own process."""

from keras_transfer.parity.command import compare_backends

__all__ = ["compare_backends"]
