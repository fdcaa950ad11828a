"""Data sets and images that other libraries hold, as the package's own: order, splits, cache and resuming stay the same."""

from keras_transfer.data.objects.opening import images_in, open_any, samples_of, splits_in
from keras_transfer.data.objects.pixels import is_single

__all__ = ["images_in", "is_single", "open_any", "samples_of", "splits_in"]
