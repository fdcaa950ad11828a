"""A run whose network is that of an old run, with another last layer: solved again on its features, or with fewer columns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import keras
import numpy as np

from keras_transfer.config.load import complete
from keras_transfer.config.open_data import open_data
from keras_transfer.config.resolved import ResolvedConfig
from keras_transfer.config.schema import RunConfig
from keras_transfer.data.dataset import Dataset
from keras_transfer.evaluation.judged import OUT_OF_FOLD, judged_split
from keras_transfer.evaluation.tasks import DEFAULT_THRESHOLD, thresholds_of
from keras_transfer.inference import start
from keras_transfer.models import bundle
from keras_transfer.report.write import write_report
from keras_transfer.revise.candidates import Candidate, best_with_new_class, solved_again, with_column
from keras_transfer.revise.comparison import SameNetwork, last_layer
from keras_transfer.revise.network import Network
from keras_transfer.revise.rejecting import rejecting
from keras_transfer.runs import RunDirectory, as_seen_from
from keras_transfer.training import build
from keras_transfer.typing import Say


@dataclass(frozen=True)
class NewHead:
    """Another last layer for a network, and what is known of it.

    Attributes:
        kernel, bias: float (d, C) and (C,).
        out_of_fold: logits of the training pictures by heads made without them, float (n, C), or None.
        outcomes: how the head was solved, for ``metrics.json``.
        columns: the old outputs that the first ones are, which keep their thresholds where pictures may have several labels.
    """

    kernel: np.ndarray
    bias: np.ndarray
    out_of_fold: np.ndarray | None = None
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    columns: Sequence[int] = ()

    @classmethod
    def of(cls, found: Candidate) -> NewHead:
        """Return a solved head."""
        same = range(len(found.head.bias) - 1) if found.adds else ()
        return cls(found.head.kernel, found.head.bias, found.out_of_fold, [found.outcome()], same)


Make = Callable[[Network], NewHead]
"""Makes the new head of an old network for the revised data."""


def solved(network: Network) -> NewHead:
    """Solve the last layer for the classes of the data, on the features of the network as it is.

    Strength and temperature are those that predict the validation images best, and where these lack a class, as a new one, or there are
    none, training images in cross-validation.
    """
    found = solved_again(network.known())
    network.say(str(found))
    return NewHead.of(found)


def added(earlier: np.ndarray | None = None) -> Make:
    """Return what gives the head a column for the last class of the data; all are solved again only where that is clearly better.

    Args:
        earlier: logits of the new run's training pictures by models of the old run that were made without them, float (n, C − 1), not
            finite where there are none; or None.
    """

    def make(network: Network) -> NewHead:
        known = network.known()
        found = best_with_new_class(known, with_column(known, *network.head, earlier))
        network.say(str(found))
        return NewHead.of(found)

    return make


def kept(columns: Sequence[int], out_of_fold: np.ndarray | None = None) -> Make:
    """Return what keeps these outputs of a model, in this order, and removes the others, without training.

    Logits of softmax are relative: without a column, the probabilities of the others are those given that it is none of the removed.

    Args:
        columns: outputs that are kept.
        out_of_fold: logits of the new run's training pictures with all outputs, float (n, C), or None.
    """

    def make(network: Network) -> NewHead:
        kernel, bias = network.head
        places = list(columns)
        rest = None if out_of_fold is None else out_of_fold[:, places]
        return NewHead(kernel[:, places], bias[places], rest, columns=places)

    return make


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
    model, metadata, _ = start(old.path, backend, device)
    resolved = complete(config)
    data = open_data(resolved)
    network = Network(model, resolved, data, say)
    head = make(network)
    made = network.with_outputs(head.kernel, head.bias)
    features = {split.name: network.features(split) for split in (data.val, data.test) if len(split)}
    logits = _logits(head, made, features, data)
    thresholds = _thresholds(head, logits, metadata, data)
    metrics = build.measure(logits, data, thresholds)
    earlier = old.read_json(old.metrics)
    metrics |= {key: earlier[key] for key in ("best", "phases") if key in earlier}
    metrics |= {"outcomes": head.outcomes, "seconds": round(time.perf_counter() - began, 3)}
    about = {
        **build.metadata_of(resolved, data, thresholds),
        "weights": metadata.get("weights", resolved.model.weights),
        **rejecting(network, made, head.out_of_fold, metrics),
    }
    with new.locked():
        bundle.save(made, new.model, about, build.golden_images(made.input_shape[1:]))
        new.write_history(old.read_history())
        if head.out_of_fold is not None:
            new.write_out_of_fold(head.out_of_fold, data.train.labels)
        # The files that mark a run come last: until then, a folder that a killed process leaves is no run.
        new.change(resolved, data.split_table(), _manifest(old, new, resolved, data), data.content)
        new.write_json(new.metrics, metrics)
    say(build.verdict(metrics))
    if resolved.output.report:
        write_report(new, data, made, logits)
    return SameNetwork(((model, metadata), (made, about)), features)


def _logits(head: NewHead, model: keras.Model, features: dict[str, np.ndarray], data: Dataset) -> dict[str, np.ndarray]:
    """Return the logits of what judges the model."""
    logits = {name: last_layer(model, rows) for name, rows in features.items()}
    if head.out_of_fold is not None and len(head.out_of_fold) == len(data.train):
        logits[OUT_OF_FOLD] = np.asarray(head.out_of_fold, np.float32)
    return logits


def _thresholds(
    head: NewHead, logits: dict[str, np.ndarray], metadata: dict[str, Any], data: Dataset
) -> list[float] | None:
    """Return the thresholds of several labels: of outputs that are as they were, the old ones."""
    if not data.train.is_multi:
        return None
    name, split = judged_split(data, "val")
    found = build.thresholds_of(logits.get(name), split) or [DEFAULT_THRESHOLD] * len(data.classes)
    earlier = thresholds_of(metadata)
    found[: len(head.columns)] = [float(earlier[place]) for place in head.columns]
    return found


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
