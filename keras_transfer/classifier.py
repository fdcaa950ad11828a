"""The Python interface: build, fit, evaluate, predict, save and load a classifier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer import runtime
from keras_transfer.config.schema import CallbacksConfig, Phase, settle_batch_norm
from keras_transfer.errors import UserError
from keras_transfer.evaluation.result import Evaluation


class Classifier:
    """A pretrained backbone with a new head.

    Args:
        backbone: name of the backbone, e.g. ``"mobilenet_v2"`` (``keras_transfer.backbones()`` lists them).
        classes: class names, in label order.
        image_size: input size, one number or (height, width); by default the backbone's own.
        weights: ``"imagenet"``, ``"none"`` or the path of a weights file.
        color: ``"rgb"`` or ``"grey"`` input.
        resize: how images of another shape are fitted: ``"squash"``, ``"crop"`` or ``"pad"``.
        pooling: ``"avg"`` or ``"max"``.
        dropout: rate before the logits.
        stem: first layers: ``"keep"``, ``"small_image"`` or ``"one_channel"``.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``: what the model computes in; weights and logits stay
            float32. ``"auto"``: the fastest in :meth:`fit`, float32 otherwise.
        seed: of the head's initial weights and of the order and augmentation in :meth:`fit`.

    Attributes:
        model: an ordinary ``keras.Model``: (batch, height, width, channels) pixels 0..255 to float32 logits.
        classes: class names, in label order.
        history: a row an epoch, after :meth:`fit`.

    Raises:
        UserError: an unknown backbone, weights that do not fit or cannot be had, fewer than two classes.
    """

    def __init__(
        self,
        backbone: str,
        classes: Sequence[str],
        *,
        image_size: int | tuple[int, int] | None = None,
        weights: str = "imagenet",
        color: str = "rgb",
        resize: str = "squash",
        pooling: str = "avg",
        dropout: float = 0.2,
        stem: str = "keep",
        precision: str = "auto",
        seed: int = 0,
    ):
        if isinstance(classes, str) or len(classes) < 2:
            raise UserError(f"a classifier needs at least two class names, got {classes!r}")
        _ensure_backend()
        from keras_transfer.models.backbones import get
        from keras_transfer.models.classifier import build_classifier
        from keras_transfer.models.precision import set_precision

        size = image_size or get(backbone).image_size
        height, width = (size, size) if isinstance(size, int) else size
        self.classes = tuple(str(name) for name in classes)
        self.history: list[dict[str, Any]] = []
        self.seed, self._precision = seed, precision
        self.metadata: dict[str, Any] = {
            "classes": list(self.classes),
            "image_size": [height, width],
            "color": color,
            "resize": resize,
            "backbone": backbone,
            "weights": weights,
        }
        self.model = build_classifier(
            backbone,
            len(self.classes),
            image_size=(height, width),
            channels=1 if color == "grey" else 3,
            weights=weights,
            pooling=pooling,
            dropout=dropout,
            stem=stem,
            seed=seed,
        )
        if precision != "auto":
            set_precision(self.model, precision)

    @classmethod
    def _wrap(cls, model: Any, metadata: dict[str, Any]) -> Classifier:
        found = cls.__new__(cls)
        found.model, found.metadata, found.classes = model, metadata, tuple(metadata["classes"])
        found.history, found.seed, found._precision = [], 0, "auto"
        return found

    def fit(
        self,
        data: Any,
        phases: Sequence[Phase] | None = None,
        *,
        augment: Sequence[str | dict[str, Any]] = (),
        batch_size: int = 32,
        accumulate: int = 1,
        label_smoothing: float = 0.0,
        class_weights: str = "none",
        settings: CallbacksConfig | None = None,
        callbacks: Sequence[Any] = (),
        workers: int | str = "auto",
        cache: str = "auto",
        views: int = 0,
        verbose: bool = True,
    ) -> Any:
        """Train through ``model.fit``, phase by phase; the model ends with the weights of the best epoch.

        Args:
            data: a :class:`~keras_transfer.data.dataset.Dataset` with the classifier's classes.
            phases: what is trained and how; by default five epochs of the head and ten of everything.
            augment: augmentations by name, or ``{"name": …, parameters}``.
            batch_size: images a step.
            accumulate: parts that a step is computed in, to save memory; the result is that of the whole batch.
            label_smoothing: of the loss.
            class_weights: ``"none"``, ``"balanced"`` or ``"sqrt"``.
            settings: monitor, ReduceLROnPlateau and EarlyStopping.
            callbacks: your own Keras callbacks.
            workers: threads that decode and augment.
            cache: where features of frozen layers are kept: ``"auto"``, ``"off"``, ``"memory"`` or ``"disk"``.
            views: augmented views of each image whose features are cached; 0: augmented anew in every epoch.
            verbose: print phases and progress.

        Returns:
            :class:`~keras_transfer.training.fit.FitResult`.

        Raises:
            UserError: the data does not fit the classifier, memory ran out, the loss is not finite.
        """
        from keras_transfer.data.loading.keras_dataset import Batches
        from keras_transfer.data.loading.loader import Loader
        from keras_transfer.models.precision import computing_in
        from keras_transfer.training.accumulate import part_size
        from keras_transfer.training.build import feature_settings
        from keras_transfer.training.faults import is_out_of_memory, out_of_memory
        from keras_transfer.training.fit import fit_phases

        self._check_classes(data)
        self._check_fit(data)
        runtime.hide_progress_bars()
        micro_batch_size = part_size(batch_size, accumulate)
        train = self._training(data, augment, batch_size, class_weights, workers)
        val = Loader(data.val, self._transform(), micro_batch_size, seed=self.seed, workers=workers)
        try:
            with computing_in(self.model, self._training_precision()):
                result = fit_phases(
                    self.model,
                    self.metadata["backbone"],
                    self._phases(phases),
                    Batches(train),
                    Batches(val),
                    settings=settings,
                    label_smoothing=label_smoothing,
                    weighted=data.train.weights is not None,
                    accumulate=accumulate,
                    features=feature_settings(self._data_settings(cache, views), native=True),
                    callbacks=callbacks,
                    verbose=verbose,
                )
        except Exception as error:
            if is_out_of_memory(error):
                raise out_of_memory(batch_size, micro_batch_size, tuple(self.metadata["image_size"])) from error
            raise
        finally:
            train.close()
            val.close()
        self.history = result.history
        return result

    def lr_find(
        self,
        data: Any,
        phases: Sequence[Phase] | None = None,
        *,
        augment: Sequence[str | dict[str, Any]] = (),
        batch_size: int = 32,
        accumulate: int = 1,
        label_smoothing: float = 0.0,
        class_weights: str = "none",
        workers: int | str = "auto",
        steps: int = 100,
        plot: str | Path | None = None,
        verbose: bool = True,
    ) -> list[Any]:
        """Find a learning rate for every phase by a range test (Smith 2017); the model is left exactly as it is.

        Args:
            data: a :class:`~keras_transfer.data.dataset.Dataset` with the classifier's classes.
            phases: as for :meth:`fit`; by default the head, then everything.
            augment: as for :meth:`fit`.
            batch_size: images a step.
            accumulate: parts that a step is computed in.
            label_smoothing: of the loss.
            class_weights: ``"none"``, ``"balanced"`` or ``"sqrt"``.
            workers: threads that decode and augment.
            steps: most steps of a sweep, from 20.
            plot: the PNG to draw loss against learning rate into.
            verbose: print a line a phase.

        Returns:
            A :class:`~keras_transfer.training.range_test.Sweep` a phase, with its ``suggestion``.

        Raises:
            UserError: the data does not fit the classifier, too few steps, a loss that is not a number.
        """
        from keras_transfer import plots
        from keras_transfer.data.loading.keras_dataset import Batches
        from keras_transfer.models.precision import computing_in
        from keras_transfer.training.range_test import SweepSettings, find_rates

        self._check_classes(data)
        self._check_fit(data)
        if steps < 20:
            raise UserError(f"a range test takes at least 20 steps, got {steps}")
        runtime.hide_progress_bars()
        settings = SweepSettings(steps, label_smoothing, data.train.weights is not None, accumulate)
        with self._training(data, augment, batch_size, class_weights, workers) as train:
            say = print if verbose else (lambda _: None)
            backbone = self.metadata["backbone"]
            with computing_in(self.model, self._training_precision()):
                found = find_rates(self.model, backbone, self._phases(phases), Batches(train), settings, say)
        if plot is not None:
            plots.rate_sweeps(found, plot)
        return found

    def evaluate(self, split: Any, batch_size: int = 32) -> Evaluation:
        """Measure the model on a split, e.g. ``data.test``; see ``classification_metrics`` for the figures."""
        from keras_transfer.evaluation.evaluate import evaluate_split

        self._check_classes(split)
        return Evaluation(evaluate_split(self.model, split, self._transform(), batch_size))

    def predict(self, images: Any, top: int = 3, batch_size: int = 32) -> Any:
        """Classify images.

        Args:
            images: a path, a folder, a list of them; or one image (h, w[, c]) or images (n, h, w, c) as uint8 arrays.
            top: classes an image.
            batch_size: images a forward pass.

        Returns:
            A :class:`~keras_transfer.evaluation.predict.Prediction` for a single image, else a list of them.
        """
        from keras_transfer.evaluation.predict import predict_files, predict_images

        if isinstance(images, np.ndarray):
            single = images.ndim == 2 or (images.ndim == 3 and images.shape[-1] in (1, 3, 4))
            images = [images] if single else list(images)
            found = predict_images(self.model, self.metadata, images, top=top, batch_size=batch_size)
        else:
            single = isinstance(images, (str, Path)) and not Path(images).is_dir()
            paths: Iterable[str | Path] = [images] if isinstance(images, (str, Path)) else images
            found = predict_files(self.model, self.metadata, [str(p) for p in paths], top=top, batch_size=batch_size)
        if single and found[0].error:
            raise UserError(f"{found[0].path}: {found[0].error}")
        return found[0] if single else found

    def save(self, path: str | Path, golden: np.ndarray | None = None) -> None:
        """Write one ``.keras`` file: model, class names, size, and logits of ``golden`` images checked on load."""
        import keras

        from keras_transfer.models import bundle

        if Path(path).suffix != ".keras":
            raise UserError(f"a model is saved as a .keras file, got {str(path)!r}")
        if golden is None:
            from keras_transfer.training.build import golden_images

            golden = golden_images(self.model.input_shape[1:])
        metadata = {**self.metadata, "backend": keras.backend.backend(), "versions": runtime.versions()}
        bundle.save(self.model, path, metadata, golden)

    def _phases(self, phases: Sequence[Phase] | None) -> list[Phase]:
        if phases is None:
            phases = [Phase("head", epochs=5, learning_rate=1e-3), Phase("all", epochs=10, learning_rate=1e-4)]
        return settle_batch_norm(list(phases), self.metadata.get("weights", "imagenet"))

    def _training(
        self, data: Any, augment: Sequence[Any], batch_size: int, class_weights: str, workers: int | str
    ) -> Any:
        """Return the loader of the training images."""
        from keras_transfer.data.augment import transforms
        from keras_transfer.data.loading.loader import Loader
        from keras_transfer.training.build import class_weights as weights_of

        size, color = tuple(self.metadata["image_size"]), self.metadata["color"]
        transform, mix = transforms(list(augment), size, self.metadata["resize"], color)
        return Loader(
            data.train,
            transform,
            batch_size,
            shuffle=True,
            batch_transform=mix,
            class_weights=weights_of(data.train, class_weights),
            seed=self.seed,
            workers=workers,  # type: ignore[arg-type]
        )

    def _training_precision(self) -> str:
        return runtime.choose_precision(self._precision, runtime.device_in_use()).value

    def _data_settings(self, cache: str, views: int) -> Any:
        from keras_transfer.config.load import validate

        computing, device = self._training_precision(), runtime.device_in_use()
        precision = runtime.choose_feature_precision("auto", self._precision, computing, device).value
        return validate({"data": {"cache": cache, "views": views, "cache_precision": precision}}).data

    def _transform(self) -> Any:
        from keras_transfer.inference import transform_of

        return transform_of(self.metadata)

    def _check_classes(self, data: Any) -> None:
        if tuple(data.classes) != self.classes:
            raise UserError(
                f"the data has the classes {', '.join(data.classes)}, but the model knows {', '.join(self.classes)}"
            )

    def _check_fit(self, data: Any) -> None:
        if not len(data.val):
            raise UserError("there are no validation images to choose the best epoch by")
        mine = tuple(self.metadata["image_size"])
        if data.image_size is not None and tuple(data.image_size) != mine:
            raise UserError(
                f"the data was opened with image_size {data.image_size}, but the classifier takes {mine}; "
                "give both the same: Classifier(..., image_size=data.image_size)"
            )
        if data.resize != self.metadata["resize"]:
            raise UserError(
                f"the data was opened with resize={data.resize!r}, but the classifier has {self.metadata['resize']!r}; "
                "give both the same: Classifier(..., resize=data.resize)"
            )

    def __repr__(self) -> str:
        height, width = self.metadata["image_size"]
        return f"Classifier({self.metadata['backbone']!r}, {len(self.classes)} classes, {height}×{width})"


def load(path: str | Path, custom_objects: Mapping[str, Any] | None = None) -> Classifier:
    """Load a model file or the model of a run directory; its golden batch is computed again and compared.

    The file may come from a stranger: it is checked before Keras sees it, and can neither run code nor read another file.

    Args:
        path: model file or run directory.
        custom_objects: layers of your own that the file may name: name → class, as in ``keras.models.load_model``.

    Raises:
        Refused: the file names something that is not allowed.
        UserError: no such file, not a keras_transfer model, damaged, or its logits differ on this backend.
    """
    from keras_transfer.inference import find_model

    file, _ = find_model(path)
    _ensure_backend()
    from keras_transfer.models.bundle import load as load_bundle

    return Classifier._wrap(*load_bundle(file, custom_objects=custom_objects))


def _ensure_backend() -> None:
    import sys

    if "keras" not in sys.modules:
        runtime.use_backend()
