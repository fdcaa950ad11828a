"""scikit-learn's handwritten digits: 1,797 real 8 x 8 images that need no download."""

from __future__ import annotations

import numpy as np

from keras_transfer.data.samples import ArrayStore, SampleTable, make_samples


def load() -> SampleTable:
    """Read handwritten digits 0..9 (Alpaydin and Kaynak, 1998; UCI, CC BY 4.0) from `sklearn.datasets.load_digits`.

    Grey values 0..16 are scaled to uint8 0..255.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return make_samples([str(d) for d in range(10)], ArrayStore(images), bunch.target, source="scikit-learn digits")
