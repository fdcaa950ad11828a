"""Phases whose head is solved instead of trained: the optimum of regularized logistic regression on cached features.

Features are computed in float32, whatever the run's precision: the solution is exact, and one pass over the images is cheap.

The head is written into the model before the phase's only epoch, in which nothing moves: it measures the head as any other epoch is
measured, so that history, best model, state and report are the same as for a phase that trains.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import keras
import numpy as np

from keras_transfer.config.resolved import ResolvedPhase
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.data.loading.loader import Loader
from keras_transfer.distribute import ALONE, Group
from keras_transfer.engine.feature_cache import CannotStore
from keras_transfer.engine.features import FeatureSettings, FrozenFeatures, UpperPart
from keras_transfer.engine.numbers import unpack
from keras_transfer.engine.prefix import cut_below
from keras_transfer.errors import UserError
from keras_transfer.models.layer_names import LOGITS
from keras_transfer.solved.cross_validation import CrossValidation, cross_validate
from keras_transfer.solved.folds import folds_of
from keras_transfer.solved.head import SolvedHead
from keras_transfer.solved.self_training import SelfTraining, self_train
from keras_transfer.solved.solvers import solver_for
from keras_transfer.solved.streamed import is_large, solve_streamed
from keras_transfer.typing import Say

LARGE_FEATURES = 2 << 30  # bytes of features in float32 from which they are stored in bfloat16
SOLVER = "logistic"  # where an image has one label


@dataclass(frozen=True)
class Solution:
    """A solved head.

    Attributes:
        head: float64, as solved; the model has it in float32.
        validation: how its strength was chosen, and the temperature that it was divided by; None if the strength was given and
            validation images judge the head.
        unlabelled: what came of images without labels; None if there are none. Where they help, ``head`` is the head with them.
    """

    head: SolvedHead
    validation: CrossValidation | None
    unlabelled: SelfTraining | None = None

    @property
    def learned_from_unlabelled(self) -> bool:
        """Whether the head is made with images without labels."""
        return self.unlabelled is not None and self.unlabelled.accepted

    def outcome(self, phase: str) -> dict[str, Any]:
        """Return the outcome of the phase of that name, JSON-able, for :attr:`FitResult.outcomes`."""
        found, more = self.validation, self.unlabelled
        outcome: dict[str, Any] = {
            "phase": phase,
            "solver": "exact",
            "strength": self.head.strength,
            "temperature": 1.0 if found is None else found.temperature,
            "evidence": None if found is None else asdict(found.evidence),
        }
        if more is None:
            return outcome
        kept = {"temperature": more.temperature, "evidence": asdict(more.evidence)} if more.accepted else {}
        return {**outcome, **kept, "unlabelled": more.as_json()}

    def out_of_fold(self) -> np.ndarray:
        """Return the logits of the training images by heads that were solved without them, float64 (n, C), or (0, C)."""
        if self.unlabelled is not None and self.unlabelled.accepted:
            return self.unlabelled.logits
        if self.validation is None:
            return np.empty((0, len(self.head.bias)))
        return self.validation.logits / self.validation.temperature

    def __str__(self) -> str:
        solved = f"head solved by {self.head.solver} regression, strength {self.head.strength:.2g}"
        if self.validation is not None:
            found = self.validation
            solved += f" and temperature {found.temperature:.2f} by cross-validation in {found.seconds:.1f} s: {found.evidence}"
        return solved if self.unlabelled is None else f"{solved}; {self.unlabelled}"


def at_rest(phase: ResolvedPhase) -> ResolvedPhase:
    """Return one epoch of the phase's head in which nothing moves: plain gradient descent at a rate of 0, without augmentation."""
    return phase.model_copy(
        update={"train": "head", "folds": 0, "epochs": 1, "augment": False, "batch_norm": "frozen", "optimizer": "sgd", "momentum": 0.0, "nesterov": False, "learning_rate": 0.0, "schedule": "constant", "warmup_epochs": 0.0,
                "weight_decay": 0.0, "clip_norm": None, "group_decay": 1.0, "image_size": None}
    )  # fmt: skip


@dataclass(frozen=True)
class HeadPart(UpperPart):
    """The last layer, and the features that it is solved on.

    Attributes:
        unlabelled: features of images without labels, float32 (m, d), or None.
    """

    unlabelled: np.ndarray | None = None


def head_part(
    model: keras.Model,
    train: Batches,
    val: Batches,
    settings: FeatureSettings,
    say: Say,
    unlabelled: Loader | None = None,
) -> HeadPart:
    """Return the last layer alone, without dropout, and the features below it.

    Args:
        model: a classifier of which only the last layer trains.
        train: training batches, not augmented.
        val: validation batches.
        settings: how features are kept; they are computed even where caching is off.
        say: gets one line for each set of features.
        unlabelled: images without labels, if there are some to learn from.

    Raises:
        UserError: the last layer is not a linear layer on a feature vector, or the features fit neither on disk nor in memory.
    """
    frozen = frozen_below(model, len(train.loader.split), settings, say)
    try:
        more = None if unlabelled is None else unpack(frozen.of(unlabelled))
        return HeadPart(frozen.cut.suffix, frozen.batches(train.loader), frozen.batches(val.loader), more)
    except CannotStore as problem:
        raise UserError(f"solver exact needs the features of all images: {problem}") from problem


def frozen_below(model: keras.Model, samples: int, settings: FeatureSettings, say: Say) -> FrozenFeatures:
    """Return what computes the features that the last layer of a classifier reads, in float32; see :func:`head_part`.

    Args:
        model: a classifier.
        samples: number of training images, which decides how they are stored.
        settings: how features are kept.
        say: gets one line for each set of features.

    Raises:
        UserError: the last layer is not a linear layer on a feature vector.
    """
    cut = cut_below(model, LOGITS)
    layer = model.layers[-1]
    if cut is None or len(cut.shape) != 1 or not isinstance(layer, keras.layers.Dense) or not layer.use_bias:
        raise UserError("solver exact needs a model that ends with pooled features and one linear layer with a bias")
    half = 4 * samples * cut.shape[0] > LARGE_FEATURES
    cache = "memory" if settings.cache == "off" else settings.cache
    return FrozenFeatures(cut, replace(settings, precision="float32", half=half, cache=cache), say)


def solve_head(
    part: HeadPart,
    strength: float | Literal["auto"] | None,
    class_weights: np.ndarray | None = None,
    group: Group = ALONE,
) -> Solution:
    """Solve the last layer on the training features, and assign the solution to its variables, float32.

    Class weights and sample weights are those of the training loss. Dropout and label smoothing are left out: the penalty does their work.
    With the strength ``"auto"`` (or None), strength and temperature are those that predict the training images best in cross-validation
    (:func:`~keras_transfer.solved.folds.folds_of`); its figures are weighted by the sample weights only, as those of validation are. Without validation images, a given
    strength is cross-validated too, for the figures and the temperature.

    Args:
        part: from :func:`head_part`. Where it has features of images without labels, they are used if out-of-fold predictions say that
            they help (:func:`~keras_transfer.solved.self_training.self_train`).
        strength: of the L2 penalty (:class:`~keras_transfer.solved.logistic.Logistic`), or ``"auto"``.
        class_weights: of the labels, where an image may have several (:class:`~keras_transfer.training.setup.TrainingSettings`).
        group: the processes that train together: one of them solves for all.

    Raises:
        UserError: features that are not finite, or too few images for cross-validation.
    """
    solution = group.from_main(lambda: _solution(part, strength, class_weights))
    kernel, bias = part.model.layers[-1].weights
    kernel.assign(solution.head.kernel.astype(np.float32))
    bias.assign(solution.head.bias.astype(np.float32))
    return solution


def _solution(part: HeadPart, strength: float | Literal["auto"] | None, class_weights: np.ndarray | None) -> Solution:
    loader = part.train.loader
    split = loader.split
    solver = solver_for(split.labels)
    classes, weights = len(split.classes), loss_weights(loader, class_weights)
    given = None if strength == "auto" else strength
    stored = part.train.features[0]
    if not split.is_multi and part.unlabelled is None and is_large(len(split), stored.shape[1], classes):
        return _streamed(stored, split.labels, classes, given, weights, judged=not len(part.val.loader.split))
    features = unpack(stored)
    if given is None or not len(part.val.loader.split) or part.unlabelled is not None:
        folds = folds_of(split.labels, features, split.groups)
        found = cross_validate(
            solver, features, split.labels, classes, folds, weights, measured=split.weights,
            strengths=None if given is None else (given,),
        )  # fmt: skip
        head = solver.solve(features, split.labels, classes, found.strength, weights).scaled(found.temperature)
        if part.unlabelled is None:
            return Solution(head, found)
        more = self_train(
            solver, features, split.labels, classes, folds, part.unlabelled, found, weights, split.weights
        )
        return Solution(more.head if more.accepted else head, found, more)
    return Solution(solver.solve(features, split.labels, classes, given, weights), None)


def _streamed(
    stored: np.ndarray,
    labels: np.ndarray,
    classes: int,
    strength: float | None,
    weights: np.ndarray | None,
    judged: bool,
) -> Solution:
    """Solve in chunks of the stored features. Out-of-fold predictions for all images would take more room than these: there are none."""
    judged = judged or strength is None
    found = solve_streamed(lambda a, b: unpack(stored[a:b]), labels, classes, strength, weights, judged)
    if found.evidence is None:
        return Solution(found.head, None)
    none = np.empty((0, classes))
    validation = CrossValidation(none, found.head.strength, found.temperature, found.evidence, found.seconds)
    return Solution(found.head.scaled(found.temperature), validation)


def loss_weights(loader: Loader, class_weights: np.ndarray | None = None) -> np.ndarray | None:
    """Return the weights of all samples in the training loss, float32 (n,), or None.

    With weights of several labels, float32 (C,), those of each label of a sample: (n, C).
    """
    weights = loader.weights
    if class_weights is None:
        return weights
    targets = loader.targets(np.arange(len(loader.split)))
    each = np.where(targets[0] > 0, class_weights, np.float32(1))
    return each if weights is None else each * weights[:, None]
