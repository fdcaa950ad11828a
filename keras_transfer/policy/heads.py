"""Which backbone, and which of its features, a solved head predicts best with: judged by out-of-fold predictions.

One pass over the images computes the features of every candidate. All candidates are then judged on the same folds, and the cheapest of
those that are not clearly worse than the best is chosen (one-standard-error rule on paired differences).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_transfer.config.open_data import evaluation_transform
from keras_transfer.config.resolved import ResolvedData
from keras_transfer.data.dataset import Split
from keras_transfer.data.loading.loader import Loader
from keras_transfer.engine.features import FeatureSettings, FrozenFeatures
from keras_transfer.engine.prefix import Cut, cut_below
from keras_transfer.evaluation.leaderboard import Entry, Leaderboard
from keras_transfer.models import backbones
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.layer_names import LOGITS
from keras_transfer.solved.cross_validation import CrossValidation, cross_validate
from keras_transfer.solved.evidence import losses, within_one_error
from keras_transfer.solved.folds import folds_of
from keras_transfer.solved.problem import in_sample_span
from keras_transfer.solved.solvers import solver_for
from keras_transfer.stratify import divide
from keras_transfer.typing import Say

Blocks = dict[tuple[str, int], list[np.ndarray]]
"""(Backbone, taps) → its feature vectors, each float32 (n, dᵢ)."""

TAPS = 5
MAX_JUDGED = 2000
"""Images of which predictions are compared: their standard errors are small enough, and the time grows with the cube."""


@dataclass(frozen=True)
class Head:
    """A candidate.

    Attributes:
        backbone: name, as in ``model.backbone``.
        taps: as in ``model.taps``.
        parameters: of the backbones: a measure of what a prediction costs.
    """

    backbone: str
    taps: int
    parameters: int

    def __str__(self) -> str:
        count = self.backbone.count("+") + 1
        where = f"{count} backbones joined" if count > 1 else self.backbone
        return f"{where}, {self.taps} maps" if self.taps else f"{where}, last map"


def rank_heads(
    names: Sequence[str], joined: bool, model: dict[str, Any], data: ResolvedData, split: Split, say: Say
) -> tuple[Head, float, Leaderboard]:
    """Judge a head on each backbone, on its last features and on those of several depths, and on all backbones together.

    Args:
        names: of the backbones.
        joined: whether a head on all backbones together is a candidate.
        model: the configuration's ``model`` section.
        data: how images become arrays; its size is that of all candidates.
        split: the training images.
        say: gets a line about the features.

    Returns:
        The chosen candidate, the strength of its regularization, and what was found of all.
    """
    everything, split = len(split), _judged(split)
    blocks, parameters = _features(names, model, data, split, say)
    folds = folds_of(split.labels, blocks[names[0], 0][0], split.groups)
    heads = [Head(name, taps, parameters[name]) for name in names for taps in (0, TAPS)]
    if joined and len(names) > 1:
        heads.append(Head("+".join(names), TAPS, sum(parameters.values())))
    found = [
        _judge([x for name in head.backbone.split("+") for x in blocks[name, head.taps]], split, folds)
        for head in heads
    ]
    table = np.stack([losses(each.logits / each.temperature, split.labels) for each in found])
    best = within_one_error([head.parameters + head.taps for head in heads], table, split.weights)
    repeats, count = folds.shape[0], len(np.unique(folds[0]))
    evidence = f"out-of-fold predictions for {len(split)} training images, {count} folds" + (
        f", {repeats} times" if repeats > 1 else ""
    )
    lowest = int(table.mean(axis=1).argmin())
    entries = [
        _entry(head, each, k == best, _reason(k, best, lowest)) for k, (head, each) in enumerate(zip(heads, found))
    ]
    ranked = sorted(entries, key=lambda entry: entry.log_loss)
    if len(split) == everything:
        _keep(heads[best], model, data, split, np.concatenate(_blocks_of(heads[best], blocks), axis=1))
    return heads[best], found[best].strength, Leaderboard(tuple(ranked), evidence)


def _blocks_of(head: Head, blocks: Blocks) -> list[np.ndarray]:
    return [block for name in head.backbone.split("+") for block in blocks[name, head.taps]]


def _keep(head: Head, model: dict[str, Any], data: ResolvedData, split: Split, rows: np.ndarray) -> None:
    """Store the features of the chosen head where the phase that solves it will look for them."""
    cut = cut_below(_classifier(head.backbone, head.taps, model, data, split), LOGITS)
    if cut is not None and data.cache == "disk":
        with Loader(split, evaluation_transform(data), data.batch_size, workers=0) as loader:
            FrozenFeatures(cut, _settings(model, data), lambda _: None).keep(loader, rows)


def _classifier(backbone: str, taps: int, model: dict[str, Any], data: ResolvedData, split: Split) -> keras.Model:
    return build_classifier(
        backbone,
        len(split.classes),
        image_size=data.size,
        channels=1 if data.color == "grey" else 3,
        weights=model["weights"],
        pooling=model["pooling"],
        stem=model["stem"],
        taps=taps,
    )


def _settings(model: dict[str, Any], data: ResolvedData) -> FeatureSettings:
    return FeatureSettings(data.cache, int(data.cache_limit * 1024**3), "float32", native=model["native"])


def _reason(number: int, chosen: int, lowest: int) -> str:
    if number == chosen:
        return "lowest log-loss" if chosen == lowest else "cheapest within one standard error of the lowest log-loss"
    return "no clear gain for its cost" if number == lowest else "higher log-loss"


def _judged(split: Split) -> Split:
    """Return at most MAX_JUDGED samples, the same share of every class."""
    if len(split) <= MAX_JUDGED:
        return split
    if split.is_multi:
        order = np.random.default_rng(0).permutation(len(split))
        parts = divide(split.labels, (MAX_JUDGED, len(split) - MAX_JUDGED), order)
        return split.take(np.sort(order[parts[order] == 0][:MAX_JUDGED]))
    rng = np.random.default_rng(0)
    order = rng.permutation(len(split))
    order = order[np.argsort(split.labels[order], kind="stable")]  # by class, at random within each
    counts = np.bincount(split.labels)
    place = np.concatenate([(np.arange(count) + rng.random(count)) / count for count in counts if count])
    return split.take(np.sort(order[np.argsort(place, kind="stable")[:MAX_JUDGED]]))


def _features(
    names: Sequence[str], model: dict[str, Any], data: ResolvedData, split: Split, say: Say
) -> tuple[Blocks, dict[str, int]]:
    """Return the feature vectors of each backbone for 0 and TAPS taps, and its number of parameters."""
    classifier = _classifier("+".join(names), TAPS, model, data, split)
    layers = {layer.name: layer for layer in classifier.layers}
    places: list[tuple[str, int]] = []
    tensors = []
    for number, name in enumerate(names):
        end = backbones.suffix(number)
        deep = [f"{tap}weigh{end}" for tap in ("", *(f"tap{k}_" for k in range(1, TAPS)))]
        for taps, wanted in ((0, [f"pool{end}"]), (TAPS, [each for each in deep if each in layers])):
            places += [(name, taps)] * len(wanted)
            tensors += [layers[each].output for each in wanted]
    joined = keras.layers.Concatenate(dtype="float32")(tensors)
    prefix = keras.Model(classifier.inputs[0], joined)
    with Loader(split, evaluation_transform(data), data.batch_size, workers=data.workers) as loader:
        rows = FrozenFeatures(
            Cut(prefix, classifier, "features", (int(joined.shape[-1]),)), _settings(model, data), say
        ).of(loader)
    blocks: Blocks = {}
    ends = np.cumsum([int(tensor.shape[-1]) for tensor in tensors])
    for place, block in zip(places, np.split(np.asarray(rows), ends[:-1], axis=1)):
        blocks.setdefault(place, []).append(block)
    sizes = {name: _parameters(classifier, backbones.suffix(number)) for number, name in enumerate(names)}
    return blocks, sizes


def _parameters(classifier: keras.Model, end: str) -> int:
    layers = [layer for layer in classifier.layers if layer.name != "logits"]
    return sum(
        layer.count_params() for layer in layers if layer.name.endswith(end) and ("__" in layer.name) == bool(end)
    )


def _judge(blocks: Sequence[np.ndarray], split: Split, folds: np.ndarray) -> CrossValidation:
    features = in_sample_span(blocks)
    return cross_validate(solver_for(split.labels), features, split.labels, len(split.classes), folds, split.weights)


def _entry(head: Head, found: CrossValidation, chosen: bool, reason: str) -> Entry:
    e = found.evidence
    return Entry(str(head), e.accuracy, e.accuracy_error, e.log_loss, e.log_loss_error, found.seconds, chosen, reason)
