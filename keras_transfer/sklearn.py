"""A scikit-learn estimator of images: cross-validation, pipelines and searches of scikit-learn with a pretrained backbone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from keras_transfer.arguments.types import MAX_SEED, plain
from keras_transfer.config.schema import BACKBONE, VAL_FRACTION, Phase
from keras_transfer.data.images.given import CHANNELS
from keras_transfer.errors import UserError

__all__ = ["ImageClassifier"]


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """:class:`keras_transfer.Classifier` as a scikit-learn estimator.

    ``X`` is a sequence of images: an array (n, height, width[, channels]), or a list of arrays, PIL pictures or paths of any sizes.
    Flattened images, (n, height · width · channels), need ``image_shape``.

    Args:
        backbone: name of a backbone.
        weights: ``"imagenet"``, ``"none"`` or the path of a weights file.
        image_size: side, or (height, width), of the network's input; None: the backbone's own.
        image_shape: (height, width[, channels]) of flattened images.
        color: ``"rgb"`` or ``"grey"``.
        resize: how images of another shape are fitted: ``"squash"``, ``"crop"`` or ``"pad"``.
        phases: what is trained, as in :meth:`keras_transfer.Classifier.fit`; None: chosen by cross-validation.
        epochs: without phases: of the head, then of everything.
        optimizer: name or object of a Keras optimizer.
        augment: augmentations.
        batch_size: images per step.
        class_weights: as in :meth:`keras_transfer.Classifier.fit`.
        validation_split: fraction of the images held out to choose the best epoch.
        effort: how much is tried without phases.
        random_state: seed of the split and of everything random in training; None: 0.
        verbose: print phases and progress.

    Attributes:
        classes_: the labels, sorted, (C,).
        classifier_: the trained :class:`keras_transfer.Classifier`.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.model_selection import cross_val_score
        >>> from keras_transfer.sklearn import ImageClassifier
        >>> X, y = load_digits(n_class=2, return_X_y=True)
        >>> tiny = ImageClassifier("tiny", weights="none", image_size=16, image_shape=(8, 8), phases=[kt.Phase("head", epochs=1)])
        >>> len(cross_val_score(tiny, X[:40] * 15, y[:40], cv=2))
        2
    """

    def __init__(  # its keywords are those of the classifier and of its fit: scikit-learn asks for them here
        self,
        backbone: str = BACKBONE,
        *,
        weights: str = "imagenet",
        image_size: int | tuple[int, int] | None = None,
        image_shape: Sequence[int] | None = None,
        color: str = "rgb",
        resize: str = "squash",
        phases: Sequence[Phase] | None = None,
        epochs: int | None = None,
        optimizer: Any = None,
        augment: Sequence[Any] = (),
        batch_size: int = 32,
        class_weights: Any = "none",
        validation_split: float = VAL_FRACTION,
        effort: str | float = "standard",
        random_state: int | None = 0,
        verbose: bool = False,
    ):
        self.backbone = backbone
        self.weights = weights
        self.image_size = image_size
        self.image_shape = image_shape
        self.color = color
        self.resize = resize
        self.phases = phases
        self.epochs = epochs
        self.optimizer = optimizer
        self.augment = augment
        self.batch_size = batch_size
        self.class_weights = class_weights
        self.validation_split = validation_split
        self.effort = effort
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ImageClassifier:  # noqa: N803  scikit-learn's names
        """Train on images.

        Args:
            X: n images.
            y: labels (n,): numbers or names.
            sample_weight: weights (n,), at least 0; None: all 1.

        Raises:
            ValueError: images or labels that do not fit, fewer than two classes, fewer than two images of a class.
        """
        from keras_transfer.classifier import Classifier
        from keras_transfer.data import open as open_data

        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        images = self._images(X, fitting=True)
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        if len(labels) != len(images):
            raise ValueError(f"X has {len(images)} images, but y has {len(labels)} labels")
        self.classes_, rows = np.unique(labels, return_inverse=True)
        names = [str(label) for label in self.classes_]
        if len(names) < 2:
            raise ValueError(f"a classifier needs at least two classes, got one class: {names}")
        written = [names[row] for row in rows]  # numbers would be places in names that may be numbers, too
        given = (images, written) if sample_weight is None else (images, written, _weights(sample_weight, len(images)))
        common: dict[str, Any] = {"image_size": self.image_size, "color": self.color, "resize": self.resize}
        seed = _seed(self.random_state)
        try:
            model = Classifier(self.backbone, names, weights=self.weights, seed=seed, **common)
            common["image_size"] = model.metadata["image_size"]
            data = open_data(
                given, classes=names, val_fraction=self.validation_split, test_fraction=0.0, seed=seed, **common
            )
            model.fit(
                data,
                self.phases,
                epochs=self.epochs,
                optimizer=self.optimizer,
                augment=self.augment,
                batch_size=self.batch_size,
                class_weights=self.class_weights,
                effort=self.effort,  # type: ignore[arg-type]  # checked there
                verbose=self.verbose,
            )
        except UserError as error:
            raise ValueError(str(error)) from error
        self.classifier_ = model
        return self

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the probability of each class, float64 (n, C), in the order of ``classes_``.

        Raises:
            ValueError: an image that cannot be read.
        """
        check_is_fitted(self)
        images = self._images(X)
        try:
            found = self.classifier_.predict(list(images), top=len(self.classes_), batch_size=self.batch_size)
        except UserError as error:
            raise ValueError(str(error)) from error
        place = {name: i for i, name in enumerate(self.classifier_.classes)}
        table = np.zeros((len(images), len(place)))
        for row, prediction in zip(table, found):
            if prediction.error is not None:
                raise ValueError(f"{prediction.path}: {prediction.error}")
            for name, probability in zip(prediction.classes, prediction.probabilities):
                row[place[name]] = probability
        return table / table.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the most probable label of each image, (n,)."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def _images(self, X: Any, fitting: bool = False) -> Any:  # noqa: N803
        """Return the images of X as a sequence: an array of images, or a list."""
        if self.image_shape is not None:
            return self._unflattened(validate_data(self, X, reset=fitting))
        if isinstance(X, (str, Path)) or not hasattr(X, "__len__"):
            raise ValueError(f"X: expected a sequence of images, received {type(X).__name__}")
        if not isinstance(X, (list, tuple)):
            X = X.to_numpy() if hasattr(X, "to_numpy") else np.asarray(X)  # noqa: N806
        if not len(X):
            raise ValueError("X: found no images, 0 sample(s); at least 1 is required")
        if not isinstance(X, np.ndarray) or (X.dtype.kind in "OU" and X.ndim == 1):
            return list(X)
        if X.ndim == 3 and X.shape[-1] in CHANNELS:
            raise ValueError(
                f"X: the shape {X.shape} is that of one image; expected several: give X[None], or X[..., None] for grey ones"
            )
        if X.ndim not in (3, 4):
            raise ValueError(
                f"X: expected images (n, height, width[, channels]), got an array of shape {X.shape}. Reshape your data, or say the shape "
                "of flattened images: image_shape=(height, width[, channels])"
            )
        return X

    def _unflattened(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        shape: Any = plain(self.image_shape)
        shape = (shape,) if isinstance(shape, int) else tuple(map(plain, shape)) if isinstance(shape, Iterable) else ()
        if len(shape) not in (2, 3) or not all(isinstance(side, int) and side > 0 for side in shape):
            raise ValueError(f"image_shape: expected (height, width[, channels]), got {self.image_shape!r}")
        if X.shape[1] != np.prod(shape):
            raise ValueError(f"X has {X.shape[1]} features, but images of image_shape {shape} have {np.prod(shape)}")
        return X.reshape(-1, *shape)

    def __sklearn_tags__(self) -> Any:
        """Say that X holds images, not rows of a table."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.image_shape is not None
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickle and joblib: the trained classifier as the bytes of its file."""
        state = dict(super().__getstate__())
        model = state.pop("classifier_", None)
        if model is not None:
            with tempfile.TemporaryDirectory() as folder:
                model.save(Path(folder) / "model.keras")
                state["_file"] = (Path(folder) / "model.keras").read_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`__getstate__` returned."""
        from keras_transfer.classifier import load

        state = dict(state)
        data = state.pop("_file", None)
        super().__setstate__(state)
        if data is not None:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "model.keras"
                file.write_bytes(data)
                self.classifier_ = load(file)


def _seed(random_state: Any) -> int:
    """Return a seed from what scikit-learn calls a random state: None, a number, or a generator, which is drawn from."""
    if random_state is None or isinstance(random_state, (int, np.integer)):
        return int(random_state or 0)
    return int(check_random_state(random_state).randint(MAX_SEED))


def _weights(given: Any, count: int) -> np.ndarray:
    """Return sample weights as float32 (n,); scikit-learn wants to hear of weights that are all zero."""
    weights = np.asarray(given, np.float32)
    if weights.shape != (count,):
        raise ValueError(f"sample_weight has the shape {weights.shape}, expected ({count},)")
    if not weights.any():
        raise ValueError("sample_weight: all weights are zero, so there is nothing to train on")
    return weights
