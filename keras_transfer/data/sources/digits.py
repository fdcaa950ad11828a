"""scikit-learn's handwritten digits: 1,797 real 8 x 8 pictures that need no download."""

from __future__ import annotations

import numpy as np

from keras_transfer.data.manifest import ArrayStore, Manifest, make_manifest


def load() -> Manifest:
    """Handwritten digits 0..9 (Alpaydin and Kaynak, 1998; UCI, CC BY 4.0) from `sklearn.datasets.load_digits`.

    Grey values 0..16 are scaled to uint8 0..255.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return make_manifest([str(d) for d in range(10)], ArrayStore(images), bunch.target, source="scikit-learn digits")
