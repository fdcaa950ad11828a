"""The Python interface: build, fit, evaluate, predict, save and load a classifier."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from keras_transfer import runtime, text
from keras_transfer.arguments import checked
from keras_transfer.arguments.names import ClassNames, normal
from keras_transfer.arguments.types import (
    AnyPath,
    Augment,
    Callbacks,
    ClassWeights,
    Effort,
    Fraction,
    Metrics,
    NameOrModel,
    Natural,
    OptionalSize,
    Positive,
    Seed,
    Share,
    Verbose,
    Workers,
)
from keras_transfer.config.resolved import ResolvedData, settle_batch_norm
from keras_transfer.config.schema import VAL_FRACTION, CallbacksConfig, Phase, Phases
from keras_transfer.data.dataset import Dataset, Split
from keras_transfer.data.images.given import checked_golden
from keras_transfer.errors import UserError
from keras_transfer.evaluation.result import Evaluation
from keras_transfer.evaluation.tasks import MULTI, is_multi
from keras_transfer.options import DROPOUT, Color, Pooling, Resize, Stem
from keras_transfer.usage import Usage

if TYPE_CHECKING:
    from keras_transfer.evaluation.leaderboard import Leaderboard
    from keras_transfer.models.preprocessing import Preprocessing
    from keras_transfer.training.fit_result import FitResult
    from keras_transfer.training.range_test import Sweep
    from keras_transfer.training.setup import TrainingSetup
    from keras_transfer.typing import Say

if TYPE_CHECKING:
    Scaling = str | Preprocessing | None
else:
    Scaling = Any  # its module comes with the backbones; `own_backbone` checks it

DEFAULT_PHASES = (Phase("head", epochs=5, learning_rate=1e-3), Phase("all", epochs=10, learning_rate=1e-4))


class Classifier(Usage):
    """A pretrained backbone with a new head.

    Args:
        backbone: name of the backbone, e.g. ``"mobilenet_v2"`` (``keras_transfer.backbones()`` lists them); or a Keras model from an image
            to features, whose layers and weights are copied.
        classes: class names, in label order.
        image_size: input size, one number or (height, width); by default the backbone's own.
        weights: ``"imagenet"``, ``"none"`` or the path of a weights file; a model given as the backbone keeps its own, unless ``"none"``.
        color: ``"rgb"`` or ``"grey"`` input.
        resize: how images of another shape are fitted: ``"squash"``, ``"crop"`` or ``"pad"``.
        pooling: ``"avg"`` or ``"max"``.
        dropout: rate before the logits.
        stem: first layers: ``"keep"``, ``"small_image"`` or ``"one_channel"``.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``: what the model computes in; weights and logits stay
            float32. ``"auto"``: the fastest in :meth:`fit`, float32 otherwise.
        preprocessing: what a model given as the backbone expects, unless it scales pixels itself: ``"none"`` (0..255), ``"unit"`` (0..1),
            ``"tf"`` (-1..1), ``"torch"`` or ``"caffe"``, the modes of Keras's ``preprocess_input``.
        seed: of the head's initial weights and of the order and augmentation in :meth:`fit`.

    Attributes:
        model: an ordinary ``keras.Model``: (batch, height, width, channels) pixels 0..255 to float32 logits.
        classes: class names, in label order.
        history: one row per epoch, after :meth:`fit`.
        leaderboard: the candidates that :meth:`fit` chose from, a
            :class:`~keras_transfer.evaluation.leaderboard.Leaderboard`; None if it did not choose.
        data: the data set of the last :meth:`fit`; None otherwise.
        run: run directory that it was trained in, or loaded from; None otherwise.
        comparison: after :meth:`add_class` and its kind, the regression report; None otherwise.

    Raises:
        UserError: an unknown backbone, weights that do not fit or cannot be had, fewer than two classes.

    Examples:
        >>> data = kt.data.folder("photos", image_size=32)
        >>> clf = kt.Classifier("tiny", data.classes, image_size=32, weights="none")
        >>> result = clf.fit(data, [kt.Phase("head", epochs=2, learning_rate=0.01)], verbose=False)
        >>> len(clf.history)
        2
        >>> prediction = clf.predict("photos/apple/000.png", top=2)
        >>> len(prediction.classes)
        2
    """

    @checked
    def __init__(  # its keywords are the configuration's keys: a settings object would only hide them
        self,
        backbone: NameOrModel,
        classes: ClassNames,
        *,
        image_size: OptionalSize = None,
        weights: AnyPath = "imagenet",
        color: Color = "rgb",
        resize: Resize = "squash",
        pooling: Pooling = "avg",
        dropout: Fraction = DROPOUT,
        stem: Stem = "keep",
        precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        preprocessing: Scaling = None,
        seed: Seed = 0,
    ):
        if len(classes) < 2:
            raise UserError(f"a classifier needs at least two class names, got {classes!r}")
        _ensure_backend()
        from keras_transfer.models.backbones import get
        from keras_transfer.models.backbones.own import own_backbone, own_size
        from keras_transfer.models.checkpoints.record import is_permissive
        from keras_transfer.models.checkpoints.reference import is_reference
        from keras_transfer.models.classifier import build_classifier
        from keras_transfer.models.precision import set_precision

        if not isinstance(backbone, str):
            model, backbone = backbone, own_backbone(backbone, preprocessing)
            image_size, weights = image_size or own_size(model), "own" if weights == "imagenet" else weights
        elif preprocessing is not None:
            raise UserError(f"preprocessing is for a model given as the backbone; that of {backbone!r} is known")
        record = get(backbone)
        if is_reference(backbone) and not is_permissive(record.licence):
            warnings.warn(f"licence of the weights of {backbone}: {record.licence}", stacklevel=2)
        size = image_size or record.image_size
        height, width = (size, size) if isinstance(size, int) else size
        self.classes = tuple(classes)
        self.history: list[dict[str, Any]] = []
        self.leaderboard: Leaderboard | None = None
        self.run: Path | None = None
        self.data: Dataset | None = None
        self.seed, self._precision, self._is_new = seed, precision, True
        self.metadata: dict[str, Any] = {
            "classes": list(self.classes),
            "image_size": [height, width],
            "color": color,
            "resize": resize,
            "backbone": backbone,
            "weights": weights,
            "licence": record.licence,
        }
        self._head = {"pooling": pooling, "dropout": dropout, "stem": stem}
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
        found.history, found.leaderboard, found.run, found.data = [], None, None, None
        found.seed, found._precision, found._is_new = 0, "auto", False
        return found

    @checked
    def fit(  # its keywords are the configuration's keys: a settings object would only hide them
        self,
        data: Any,
        y: Any = None,
        phases: Phases = None,
        *,
        validation_data: Any = None,
        validation_split: Fraction = VAL_FRACTION,
        epochs: Positive | None = None,
        optimizer: Any = None,
        loss: Any = None,
        metrics: Metrics = (),
        augment: Augment = (),
        batch_size: Positive = 32,
        accumulate: Positive = 1,
        label_smoothing: Fraction = 0.0,
        class_weights: ClassWeights = "none",
        settings: CallbacksConfig | None = None,
        callbacks: Callbacks = (),
        workers: Workers = "auto",
        cache: Literal["auto", "off", "memory", "disk"] = "auto",
        views: Natural = 0,
        effort: Effort = "standard",
        reject_rate: Share | None = None,
        verbose: Verbose = True,
    ) -> FitResult:
        """Train through ``model.fit``, phase by phase; the model ends with the weights of the best epoch.

        Args:
            data: labelled images: a :class:`~keras_transfer.data.dataset.Dataset`, a path, or any other object that
                :func:`keras_transfer.data.open` takes; such data are divided as `folder` does by default.
            y: labels, if ``data`` holds images only. ``fit(data, phases)`` is understood, too.
            phases: what is trained and how. By default, a new classifier does what ``keras-transfer train`` does without phases: the best
                features of its backbone are found by cross-validation, the head is solved, and fine-tuning is kept if held-out images speak
                for it; ``model`` is then built anew. A classifier that was loaded trains five epochs of the head and ten of everything.
            validation_data: images for validation, of any kind that ``data`` may have; all of ``data`` is then trained on.
            validation_split: fraction of the images held out for validation, where neither ``data`` nor ``validation_data`` has them.
            epochs: without ``phases``: of the head alone (a third of them), then of everything.
            optimizer: name or object of a Keras optimizer, for each phase that has none of its own.
            loss: name or object of a Keras loss, in place of cross-entropy; a loss without ``from_logits=True`` gets probabilities.
            metrics: names or objects of further Keras metrics, which get probabilities.
            augment: augmentations by name, ``{"name": …, parameters}``, or Keras layers such as ``keras.layers.RandomFlip()``.
            batch_size: images per step.
            accumulate: micro-batches per step, to save memory; the result is that of the whole batch.
            label_smoothing: label smoothing of the loss.
            class_weights: ``"none"`` (or None), ``"balanced"``, ``"sqrt"``, or class name → weight, such as ``{"ants": 2.0}``.
            settings: monitor, ReduceLROnPlateau and EarlyStopping.
            callbacks: your own Keras callbacks.
            workers: threads that decode and augment.
            cache: where features of frozen layers are kept: ``"auto"``, ``"off"``, ``"memory"`` or ``"disk"``.
            views: augmented views of each image whose features are cached; 0: augmented anew in every epoch.
            effort: how much is tried without phases, see :func:`keras_transfer.fine_tune`.
            reject_rate: recognize images of none of the classes; share of images of the known classes that may be rejected by mistake,
                calibrated on validation images or out of fold. Predictions then have ``novelty`` and ``rejected``.
            verbose: print phases and progress.

        Returns:
            :class:`~keras_transfer.training.fit_result.FitResult`, whose ``history`` and ``epoch`` are those of a Keras ``History``.

        Raises:
            UserError: data of another kind, or that does not fit the classifier, memory ran out, the loss is not finite.
        """
        from keras_transfer.models.precision import computing_in
        from keras_transfer.training.accumulate import part_size
        from keras_transfer.training.board import leaderboard
        from keras_transfer.training.events import SavingEvents
        from keras_transfer.training.faults import is_out_of_memory, out_of_memory
        from keras_transfer.training.fit_arguments import are_phases, as_phases, check_judges, phases_for
        from keras_transfer.training.phase_runner import PhaseRunner
        from keras_transfer.training.requirements import one_class_only

        options = {"batch_size": batch_size, "accumulate": accumulate, "class_weights": class_weights,
                   "workers": workers, "cache": cache, "views": views}  # fmt: skip
        if phases is None and are_phases(y):
            y, phases = None, y
        data = self._open(data, y, validation_data, validation_split, text.say if verbose else None)
        self._take_task(data)
        one_class_only(data, {"reject_rate": reject_rate})
        phases = phases_for(as_phases(phases), DEFAULT_PHASES, epochs, optimizer, loss is not None or bool(metrics))
        check_judges(phases or (), loss)
        if phases is None and self._is_new:
            setup = self._choose(data, effort, augment, options, settings, verbose)
        else:
            setup = self._setup(data, phases, augment, options, label_smoothing, settings, loss, metrics)
        setup.settings = replace(setup.settings, rejects=reject_rate is not None)
        self.metadata.pop("novelty", None)  # that of other weights
        try:
            with setup, computing_in(self.model, self._training_precision()):
                result = PhaseRunner(
                    setup, callbacks=callbacks, events=SavingEvents(self._write), verbose=verbose
                ).run()
        except Exception as error:
            if is_out_of_memory(error):
                size = tuple(self.metadata["image_size"])
                batch_size = setup.train.loader.batch_size
                raise out_of_memory(batch_size, part_size(batch_size, setup.settings.accumulate), size) from error
            raise
        self.history, self._is_new, self.data = result.history, False, data
        self._take_thresholds(data, result.out_of_fold, batch_size)
        if reject_rate is not None:
            self._reject(data, reject_rate, result)
        if self.leaderboard is not None:
            self.leaderboard = leaderboard(self.leaderboard.as_json(), result.outcomes)
        return result

    def _reject(self, data: Dataset, rate: float, result: FitResult) -> None:
        """Calibrate novelty for a false-alarm rate."""
        from keras_transfer.evaluation.evaluate import predict_logits
        from keras_transfer.training.rejection import calibrate

        def compute(model: Any, split: Split) -> Any:
            return predict_logits(model, split, self._transform())

        self.metadata["novelty"] = calibrate(self.model, data, rate, compute, result.out_of_fold, result.outcomes)

    @checked
    def lr_find(  # its keywords are the configuration's keys: a settings object would only hide them
        self,
        data: Any,
        phases: Phases = None,
        *,
        augment: Augment = (),
        batch_size: Positive = 32,
        accumulate: Positive = 1,
        label_smoothing: Fraction = 0.0,
        class_weights: ClassWeights = "none",
        workers: Workers = "auto",
        steps: Positive = 100,
        plot: AnyPath | None = None,
        verbose: Verbose = True,
    ) -> list[Sweep]:
        """Find a learning rate for every phase by a range test (Smith 2017); the model is left exactly as it is.

        Args:
            data: as for :meth:`fit`.
            phases: as for :meth:`fit`; by default the head, then everything.
            augment, batch_size, accumulate, label_smoothing, class_weights, workers: as for :meth:`fit`.
            steps: maximum steps of a sweep, at least 20.
            plot: PNG file to draw loss against learning rate in.
            verbose: print a line per phase.

        Returns:
            A :class:`~keras_transfer.training.range_test.Sweep` per phase, with its ``suggestion``.

        Raises:
            UserError: the data does not fit the classifier, too few steps, a loss that is not a number.
        """
        from keras_transfer import plots
        from keras_transfer.models.precision import computing_in
        from keras_transfer.training.fit_arguments import as_phases
        from keras_transfer.training.range_test import find_rates

        if steps < 20:
            raise UserError(f"a range test takes at least 20 steps, got {steps}")
        options = {"batch_size": batch_size, "accumulate": accumulate, "class_weights": class_weights,
                   "workers": workers}  # fmt: skip
        say: Say = text.say if verbose else (lambda _: None)
        data = self._open(data, None, None, VAL_FRACTION, None)
        self._take_task(data)
        setup = self._setup(data, as_phases(phases), augment, options, label_smoothing)
        with setup, computing_in(self.model, self._training_precision()):
            found = find_rates(setup, steps, say)
        if plot is not None:
            plots.rate_sweeps(found, plot)
        return found

    @checked
    def evaluate(self, data: Any = None, y: Any = None, *, batch_size: Positive = 32) -> Evaluation:
        """Measure the model; see ``classification_metrics`` for the figures.

        Args:
            data: a split, e.g. ``data.test``; or labelled images of any kind that :meth:`fit` takes, of which the test split is measured
                if they have splits, else all; None: the test images of the data of the last :meth:`fit`.
            y: labels, if ``data`` holds images only.
            batch_size: images per forward pass.

        Raises:
            UserError: nothing to measure on, or other classes than the classifier's.
        """
        from keras_transfer.evaluation.evaluate import evaluate_split
        from keras_transfer.inference import evaluation_split

        if data is None and self.data is None:
            raise UserError("evaluate() needs data: a split such as data.test, a path, (x, y) …")
        split = evaluation_split(self.metadata, self.data if data is None else data, y)
        self._check_classes(split)
        return Evaluation(
            evaluate_split(
                self.model,
                split.at_depth(self.metadata.get("depth")),
                self._transform(),
                batch_size,
                metadata=self.metadata,
            )
        )

    @checked
    def predict(self, images: Any, top: Positive = 3, batch_size: Positive = 32) -> Any:
        """Classify images.

        Args:
            images: a path, a folder, a web address (http, https); an array or tensor (height, width[, channels]) or several of them, 0..255
                or 0..1; a PIL picture; a list of any of these, of any sizes; or a data set object, see :func:`keras_transfer.data.open`,
                whose labels are left out; or a data set of this package.
            top: classes per image.
            batch_size: images per forward pass.

        Returns:
            A :class:`~keras_transfer.evaluation.predict.Prediction` for a single image, else a list of them.

        Raises:
            UserError: another kind of object, no image that can be read, or ``top`` is below 1.
        """
        from keras_transfer.evaluation.predict import open_images, predict_opened

        opened = open_images(images, self.metadata.get("depth"))
        found = predict_opened(self.model, self.metadata, opened, top, batch_size)
        return found[0] if opened.single else found

    @checked
    def save(self, path: AnyPath, golden: Any = None) -> None:
        """Write one ``.keras`` file: model, class names, size, and logits of ``golden`` images checked on load."""
        import keras

        from keras_transfer.models import bundle

        if Path(path).suffix != ".keras":
            raise UserError(f"a model is saved as a .keras file, got {str(path)!r}")
        if golden is None:
            from keras_transfer.training.build import golden_images

            golden = golden_images(self.model.input_shape[1:])
        golden = checked_golden(golden, self.model.input_shape[1:])
        metadata = {**self.metadata, "backend": keras.backend.backend(), "versions": runtime.versions()}
        bundle.save(self.model, path, metadata, golden)

    def _write(self, model: Any, path: Path) -> None:
        """Write the model in training where one of the caller's callbacks asks for it."""
        from keras_transfer.models import bundle

        if path.suffix == ".keras":
            bundle.save(model, path, self.metadata)
        else:
            model.save(path)

    def _open(self, data: Any, y: Any, validation: Any, val_fraction: float, say: Say | None) -> Dataset:
        """Return the data set to train on, and say what was decided about it."""
        from keras_transfer.inference import training_data

        opened = training_data(self.metadata, data, y, validation, val_fraction, self.seed)
        if not self._is_new:
            opened = opened.as_task(is_multi(self.metadata))
        if opened is not data and say is not None:
            say(repr(opened))
            for note in opened.samples.notes:
                say(f"data: {note}")
        return opened

    def _choose(
        self,
        data: Dataset,
        effort: str | float,
        augment: Sequence[Any],
        options: dict[str, Any],
        callbacks: CallbacksConfig | None,
        verbose: bool,
    ) -> TrainingSetup:
        """Choose features and phases for the data, build the model anew, and return what training needs."""
        from keras_transfer.config.load import validate
        from keras_transfer.policy.resolve import Machine, resolve_by_evidence
        from keras_transfer.training import build

        self._check_data(data)
        self._take_depth(data)
        runtime.hide_progress_bars()
        auto = {"batch_size": 32, "class_weights": "none", "views": 0}
        given = {key: value for key, value in options.items() if value != auto.get(key)}
        own = {key: self.metadata[key] for key in ("image_size", "color", "resize")}
        network = {key: self.metadata[key] for key in ("backbone", "weights")}
        tree = {
            "seed": self.seed,
            "effort": effort,
            "precision": self._precision,
            "data": {**own, **given, **({"augment": list(augment)} if augment else {})},
            "model": {**network, **self._head},
            "callbacks": (callbacks or CallbacksConfig()).model_dump(),
        }
        config = validate(tree)
        say: Say = text.say if verbose else (lambda _: None)
        choice = runtime.choose_backend(None, "auto")
        resolved, self.leaderboard = resolve_by_evidence(config, data, Machine.of(config, choice), say)
        for decision in resolved.decisions:
            if decision.key.startswith(("model.", "phases.")):
                say(f"chosen: {decision}")
        setup = build.make_setup(resolved, data)
        self.model = setup.model
        return setup

    def _setup(
        self,
        data: Dataset,
        phases: Sequence[Phase] | None,
        augment: Sequence[Any],
        options: dict[str, Any],
        label_smoothing: float,
        callbacks: CallbacksConfig | None = None,
        loss: Any = None,
        metrics: Sequence[Any] = (),
    ) -> TrainingSetup:
        """Return what training needs.

        Args:
            data: an opened data set.
            phases: what is trained and how, or None: the default.
            augment: augmentations by name, with parameters, or as objects.
            options: keys of the configuration's ``data`` section.
            label_smoothing: of the loss.
            callbacks: monitor, ReduceLROnPlateau and EarlyStopping.
            loss: one of Keras's, or None.
            metrics: further ones of Keras's.

        Raises:
            UserError: the data does not fit the classifier, an option that is out of range.
        """
        from keras_transfer.training import build
        from keras_transfer.training.setup import TrainingSettings, TrainingSetup

        self._check_data(data)
        self._take_depth(data)
        runtime.hide_progress_bars()
        settled = self._data_settings(options).model_copy(update={"augment": list(augment)})
        train, val = build.make_batches(settled, data, self.seed)
        settings = TrainingSettings(
            self.metadata["backbone"],
            settle_batch_norm(DEFAULT_PHASES if phases is None else phases, self.metadata.get("weights", "imagenet")),
            callbacks=callbacks or CallbacksConfig(),
            label_smoothing=label_smoothing,
            loss=loss,
            metrics=tuple(metrics),
            several=data.is_multi,
            class_weights=build.label_weights(data.train, settled.class_weights),
            weighted=data.train.weights is not None,
            accumulate=settled.accumulate,
            features=build.feature_settings(settled, native=True),
        )
        return TrainingSetup(self.model, train, val, settings)

    def _training_precision(self) -> str:
        return runtime.choose_precision(self._precision, runtime.device_in_use()).value

    def _data_settings(self, options: dict[str, Any]) -> ResolvedData:
        """Return the configuration's ``data`` section for these options and the classifier's own."""
        from keras_transfer.config.load import complete_data
        from keras_transfer.data.checks.verify import resolve_workers

        computing, device = self._training_precision(), runtime.device_in_use()
        precision = runtime.choose_feature_precision("auto", self._precision, computing, device).value
        own = {key: self.metadata[key] for key in ("image_size", "color", "resize")}
        opened = {"val_fraction": 0.0, "augment": []}  # the data comes divided, and augmentations may be objects
        settled = {**own, **opened, "cache": "auto", "views": 0, **options, "cache_precision": precision}
        if settled["cache"] == "auto":
            settled["cache"] = "disk"
        if settled["workers"] == "auto":
            settled["workers"] = resolve_workers("auto")
        return complete_data(settled)

    def _transform(self) -> Any:
        from keras_transfer.inference import transform_of

        return transform_of(self.metadata)

    def _check_data(self, data: Dataset) -> None:
        """Raise UserError unless a data set fits the classifier."""
        self._check_classes(data)
        self._check_fit(data)

    def _take_depth(self, data: Dataset) -> None:
        """Keep the range of 16-bit training images, in which images are read from here on."""
        if data.depth is not None:
            self.metadata["depth"] = list(data.depth)

    def _take_task(self, data: Dataset) -> None:
        """Keep whether an image may have several labels: the data of a new classifier decide."""
        self.metadata.pop("thresholds", None)
        self.metadata.pop("task", None)
        if data.is_multi:
            self.metadata["task"] = MULTI

    def _take_thresholds(self, data: Dataset, out_of_fold: Any, batch_size: int) -> None:
        """Keep the best thresholds of several labels: out of fold, or on the validation images."""
        from keras_transfer.evaluation.evaluate import predict_logits
        from keras_transfer.training.build import thresholds_of

        if not data.is_multi:
            return
        found = thresholds_of(out_of_fold, data.train)
        if found is None and len(data.val):
            found = thresholds_of(predict_logits(self.model, data.val, self._transform(), batch_size), data.val)
        if found is not None:
            self.metadata["thresholds"] = found

    def _check_classes(self, data: Dataset | Split) -> None:
        if tuple(map(normal, data.classes)) != tuple(map(normal, self.classes)):
            raise UserError(
                f"the data has the classes {_listed(data.classes)}, but the model knows {_listed(self.classes)}"
            )
        if isinstance(data, Split) and data.is_multi != is_multi(self.metadata):
            forms = ("one label", "several labels") if data.is_multi else ("several labels", "one label")
            raise UserError(
                f"the model is for {forms[0]} per image, the data has {forms[1]} for each; give evaluate() the data set"
            )

    def _check_fit(self, data: Dataset) -> None:
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


@checked
def load(path: AnyPath, custom_objects: Mapping[str, Any] | None = None) -> Classifier:
    """Load a model file or the model of a run directory; its golden batch is computed again and compared.

    The file may come from a stranger: it is checked before Keras sees it, and can neither run code nor read another file.

    Args:
        path: model file or run directory.
        custom_objects: layers of your own that the file may name: name → class, as in ``keras.models.load_model``.

    Raises:
        Refused: the file names something that is not allowed.
        UserError: no such file, not a keras_transfer model, damaged, or its logits differ on this backend.

    Examples:
        >>> clf = kt.Classifier("tiny", ["cat", "dog"], image_size=32, weights="none")
        >>> clf.save("pets.keras")
        >>> kt.load("pets.keras").classes
        ('cat', 'dog')
    """
    from keras_transfer.inference import find_model

    file, run = find_model(path)
    _ensure_backend()
    from keras_transfer.models.bundle import load as load_bundle

    found = Classifier._wrap(*load_bundle(file, custom_objects=custom_objects))
    found.run = None if run is None else run.path
    return found


def _listed(names: Sequence[str], limit: int = 20) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(text.one_line, names[:limit])) + more


def _ensure_backend() -> None:
    import sys

    if "keras" not in sys.modules:
        runtime.use_backend()
