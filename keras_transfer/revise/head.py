"""A run whose network is that of an old run, with another last layer: solved again on its features, or with fewer columns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import keras
import numpy as np

from keras_transfer import text
from keras_transfer.config.load import complete
from keras_transfer.config.open_data import evaluation_transform, open_data
from keras_transfer.config.resolved import ResolvedConfig
from keras_transfer.config.schema import RunConfig
from keras_transfer.data.dataset import Dataset
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.data.loading.loader import Loader
from keras_transfer.engine.features import UpperPart
from keras_transfer.engine.numbers import unpack
from keras_transfer.errors import UserError
from keras_transfer.evaluation.evaluate import predict_logits
from keras_transfer.evaluation.judged import OUT_OF_FOLD
from keras_transfer.models import bundle
from keras_transfer.models.initial import draw_initial_weights
from keras_transfer.models.layer_names import LOGITS
from keras_transfer.report.write import write_report
from keras_transfer.revise.comparison import SameNetwork, last_layer
from keras_transfer.revise.single_label import start_single
from keras_transfer.runs import RunDirectory, as_seen_from
from keras_transfer.solved.cross_validation import cross_validate
from keras_transfer.solved.evidence import losses
from keras_transfer.solved.folds import folds_of
from keras_transfer.solved.solvers import SOLVERS
from keras_transfer.solved.temperature import fit_temperature
from keras_transfer.training import build
from keras_transfer.training.exact import SOLVER, Solution, head_part, loss_weights
from keras_transfer.typing import Say

FOLDS = 3  # with every third strength: seconds count, and the head is an optimum that depends little on either


@dataclass(frozen=True)
class NewHead:
    """A classifier with another last layer, and what is known of it.

    Attributes:
        model: the classifier.
        out_of_fold: logits of the training pictures by heads made without them, float (n, C), or None.
        outcomes: how the head was solved, for ``metrics.json``.
    """

    model: keras.Model
    out_of_fold: np.ndarray | None = None
    outcomes: list[dict[str, Any]] = field(default_factory=list)


Make = Callable[[keras.Model, ResolvedConfig, Dataset, Say], NewHead]
"""Makes the new head of an old model for the revised data."""


def solved(model: keras.Model, config: ResolvedConfig, data: Dataset, say: Say) -> NewHead:
    """Solve the last layer for the classes of the data, on the features of the network as it is.

    Strength and temperature are those that predict the validation images best; where these lack a class, as a new one, or there are
    none, the training images in cross-validation.

    Raises:
        UserError: the model does not end with one linear layer on a feature vector.
    """
    new = with_outputs(model, len(data.classes), config.seed)
    train, val = build.make_batches(config.data, data, config.seed)
    plain = train.loader.plain()
    try:
        part = head_part(new, Batches(plain), val, build.feature_settings(config.data, native=True), say)
        found = _best_head(part, plain)
    finally:
        for loader in (plain, train.loader, val.loader):
            loader.close()
    new.get_layer(LOGITS).set_weights([found.head.kernel.astype(np.float32), found.head.bias.astype(np.float32)])
    say(str(found))
    return NewHead(new, found.out_of_fold() if found.validation is not None else None, [found.outcome("head")])


def _best_head(part: UpperPart, loader: Loader) -> Solution:
    solver, split = SOLVERS[SOLVER], loader.split
    features, weights = unpack(part.train.features[0]), loss_weights(loader)
    judges, classes, strengths = part.val.loader.split, len(split.classes), solver.strengths[::3]
    if len(np.unique(judges.labels)) < len(np.unique(split.labels)):
        folds = folds_of(split.labels, features, split.groups, FOLDS)
        found = cross_validate(solver, features, split.labels, classes, folds, weights, split.weights, strengths)
        head = solver.solve(features, split.labels, classes, found.strength, weights)
        return Solution(head.scaled(found.temperature), found)
    rows = unpack(part.val.features[0])
    heads = [
        head.scaled(fit_temperature(head.logits(rows), judges.labels, judges.weights))
        for head in solver.path(features, split.labels, classes, strengths, weights)
    ]
    costs = [np.average(losses(head.logits(rows), judges.labels), weights=judges.weights) for head in heads]
    return Solution(heads[int(np.argmin(costs))], None)


def kept(columns: Sequence[int], out_of_fold: np.ndarray | None = None) -> Make:
    """Return what keeps these outputs of a model, in this order, and removes the others, without training.

    Logits of softmax are relative: without a column, the probabilities of the others are those given that it is none of the removed.

    Args:
        columns: outputs that are kept.
        out_of_fold: logits of the new run's training pictures with all outputs, float (n, C), or None.
    """

    def make(model: keras.Model, config: ResolvedConfig, data: Dataset, say: Say) -> NewHead:
        new = with_outputs(model, len(columns), config.seed)
        kernel, bias = _head_of(model).get_weights()
        new.get_layer(LOGITS).set_weights([kernel[:, list(columns)], bias[list(columns)]])
        return NewHead(new, None if out_of_fold is None else out_of_fold[:, list(columns)])

    return make


def with_outputs(model: keras.Model, classes: int, seed: int) -> keras.Model:
    """Return a model of the same layers with a new last layer; the given model stays as it is."""
    layer = keras.layers.Dense(classes, dtype="float32", name=LOGITS)
    new = keras.Model(model.inputs[0], layer(_head_of(model).input), name=model.name)
    draw_initial_weights([layer], seed)
    return new


def solve_run(  # what a run is made from
    old: RunDirectory,
    new: RunDirectory,
    config: RunConfig,
    backend: str | None,
    device: str | None,
    say: Say,
    make: Make = solved,
) -> SameNetwork:
    """Write a run with the network of another and a new last layer; return both models.

    Args:
        old: a finished run; only read.
        new: an empty run directory, with its data.
        config: of the new run.
        backend: Keras backend, or None: that of the old run.
        device: where to compute, or None.
        say: prints a line.
        make: makes the new head.
    """
    began = time.perf_counter()
    model, metadata, _ = start_single(old.path, backend, device)
    resolved = complete(config)
    data = open_data(resolved)
    head = make(model, resolved, data, say)
    features = _features(head.model, resolved, data)
    logits, metrics = _measure(head, features, data)
    earlier = old.read_json(old.metrics)
    metrics |= {key: earlier[key] for key in ("best", "phases") if key in earlier}
    metrics |= {"outcomes": head.outcomes, "seconds": round(time.perf_counter() - began, 3)}
    about = {**build.metadata_of(resolved, data), "weights": metadata.get("weights", resolved.model.weights)}
    with new.locked():
        bundle.save(head.model, new.model, about, build.golden_images(head.model.input_shape[1:]))
        new.write_history(old.read_history())
        if head.out_of_fold is not None:
            new.write_out_of_fold(head.out_of_fold, data.train.labels)
        # The files that mark a run come last: until then, a folder that a killed process leaves is no run.
        new.change(resolved, data.split_table(), _manifest(old, new, resolved, data), data.content)
        new.write_json(new.metrics, metrics)
    say(build.verdict(metrics))
    if resolved.output.report:
        write_report(new, data, head.model, logits)
    return SameNetwork(((model, metadata), (head.model, about)), features)


def _features(model: keras.Model, config: ResolvedConfig, data: Dataset) -> dict[str, np.ndarray]:
    """Return the features before the last layer of what judges a model."""
    reader = keras.Model(model.inputs[0], _head_of(model).input)
    transform, settings = evaluation_transform(config.data), config.data
    return {
        split.name: predict_logits(reader, split, transform, settings.micro_batch_size, settings.workers)
        for split in (data.val, data.test)
        if len(split)
    }


def _measure(
    head: NewHead, features: dict[str, np.ndarray], data: Dataset
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the logits of what judges the model, and its metrics."""
    logits = {name: last_layer(head.model, rows) for name, rows in features.items()}
    if head.out_of_fold is not None and len(head.out_of_fold) == len(data.train):
        logits[OUT_OF_FOLD] = np.asarray(head.out_of_fold, np.float32)
    return logits, build.measure(logits, data)


def _manifest(old: RunDirectory, new: RunDirectory, config: ResolvedConfig, data: Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {**old.read_json(old.manifest)}
    found.pop("leaderboard", None)
    return {
        **found,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
        "network_of": str(old.path.absolute()),
        "data": {
            "fingerprint": data.fingerprint,
            "source": config.data.source,
            "classes": list(data.classes),
            "images": {split.name: len(split) for split in (data.train, data.val, data.test)},
            "skipped": [],
        },
        "data_from_run": as_seen_from(new, config),
    }


def _head_of(model: keras.Model) -> Any:
    layer = model.layers[-1]
    if layer.name != LOGITS or not isinstance(layer, keras.layers.Dense) or not layer.use_bias:
        raise UserError(
            f"the model does not end with a linear layer {LOGITS!r}, but with {text.one_line(layer.name)!r}"
        )
    return layer
