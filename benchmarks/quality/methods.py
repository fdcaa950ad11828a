"""The rivals: each learns from `FOLDER/train/CLASS` and gives logits of the images in `FOLDER/test/CLASS`."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.sets import ImageSet, open_set
from keras_transfer.errors import UserError

CS = tuple(10.0**k for k in range(-3, 4))
FOLDS = 5


@dataclass(frozen=True)
class Task:
    """What a method gets.

    Attributes:
        name: name of the image set.
        folder: holds train/CLASS and test/CLASS.
        seed: seed of the method.
        scratch: an empty folder.
    """

    name: str
    folder: Path
    seed: int
    scratch: Path

    @functools.cached_property
    def images(self) -> ImageSet:
        return open_set(self.name, self.folder)


@dataclass(frozen=True)
class Outcome:
    """What a method gives.

    Attributes:
        logits: of the test images in the order of sorted classes and file names, (n, classes); log-probabilities are
            logits, too.
        seconds: wall time of the training, without the prediction of the test images.
    """

    logits: np.ndarray
    seconds: float


def probe(task: Task, c: float | None = None) -> Outcome:
    """Logistic regression on frozen features, the simplest rival. Its seconds include the features of the training images,
    as long as they took when they were computed.

    Args:
        task: what to learn.
        c: inverse strength of the penalty; None: the best of seven powers of ten in cross-validation.
    """
    from benchmarks.quality.features import pooled

    images = task.images
    train, seconds = pooled(images.train, task.name)
    test, _ = pooled(images.test, task.name)
    began = time.perf_counter()
    model = logistic_regression(train, images.train_labels, task.seed, c)
    fitted = time.perf_counter() - began
    logits = model.decision_function(test)
    if logits.ndim == 1:  # of two classes, scikit-learn gives only the difference
        logits = np.stack([np.zeros_like(logits), logits], axis=1)
    return Outcome(logits, float(seconds.sum()) + fitted)


def logistic_regression(features: np.ndarray, labels: np.ndarray, seed: int, c: float | None) -> Any:
    """Fit scikit-learn's LogisticRegression; features (n, d), labels (n,), other arguments as in `probe`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    features = features.astype(np.float64)
    if c is not None:
        return LogisticRegression(C=c, max_iter=2000).fit(features, labels)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return GridSearchCV(LogisticRegression(max_iter=2000), {"C": CS}, cv=folds).fit(features, labels)


def native(task: Task) -> Outcome:
    """Fine-tuning as an expert writes it by hand in PyTorch."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise UserError('needs torch: pip install "keras_transfer[torch]"') from None
    from benchmarks.quality.native import fine_tune, predict

    images = task.images
    network, seconds = fine_tune(images.train, images.train_labels, len(images.classes), task.seed)
    return Outcome(predict(network, images.test), seconds)


def recipe(task: Task) -> Outcome:
    """The defaults of version 0.1."""
    import yaml

    import keras_transfer as kt
    from benchmarks.quality.recipe import mirrors
    from benchmarks.quality.recipe import recipe as configuration
    from keras_transfer.data.statistics import describe

    began = time.perf_counter()
    statistics = describe(kt.data.folder(task.folder, seed=task.seed))
    mirrored = mirrors(task.images.train, task.images.train_labels, task.seed)
    chosen = time.perf_counter() - began
    file = task.scratch / "recipe.yaml"
    file.write_text(yaml.safe_dump(configuration(statistics, mirrored)), "utf-8")
    outcome = train(task, str(file))
    return Outcome(outcome.logits, outcome.seconds + chosen)


def train(task: Task, *arguments: str) -> Outcome:
    """Run `keras-transfer train` in a fresh process, and predict with the run.

    Raises:
        UserError: the command's last line of errors.
    """
    run = task.scratch / "run"
    command = [sys.executable, "-m", "keras_transfer", "train", *arguments, "--data", str(task.folder)]
    command += ["--set", f"seed={task.seed}", "--set", "output.report=false", "--output", str(run)]
    began = time.perf_counter()
    # A cache of its own: features that another method left there would make this one faster.
    environment = {**os.environ, "KERAS_TRANSFER_CACHE": str(task.scratch / "cache")}
    done = subprocess.run(command, env=environment, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise UserError(lines[-1] if lines else f"the command ended with status {done.returncode}")
    import keras_transfer as kt

    return Outcome(predicted(kt.load(run), task.images), seconds)


def effort(name: str, task: Task) -> Outcome:
    """The program's defaults at an effort."""
    return train(task, "--effort", name)


def python(task: Task) -> Outcome:
    """The program's defaults, from Python."""
    import keras_transfer as kt

    os.environ["KERAS_TRANSFER_CACHE"] = str(task.scratch / "cache")  # as in `train`
    began = time.perf_counter()
    fine_tune: Callable[[str], Any] = kt.fine_tune  # type: ignore[attr-defined]
    classifier = fine_tune(str(task.folder))
    seconds = time.perf_counter() - began
    return Outcome(predicted(classifier, task.images), seconds)


def predicted(classifier: Any, images: ImageSet) -> np.ndarray:
    """Return the classifier's log-probabilities of the test images, float64 (n, classes)."""
    predictions = classifier.predict([str(path) for path in images.test], top=len(images.classes))
    rows = []
    for prediction in predictions:
        if prediction.error:
            raise UserError(f"{prediction.path}: {prediction.error}")
        shares = dict(zip(prediction.classes, prediction.probabilities))
        rows.append([shares[name] for name in images.classes])
    return np.log(np.maximum(np.array(rows, np.float64), 1e-300))


METHODS: dict[str, Callable[[Task], Outcome]] = {
    "probe": probe,
    "probe-c1": functools.partial(probe, c=1.0),
    "recipe": recipe,
    "native": native,
    "quick": functools.partial(effort, "quick"),
    "standard": functools.partial(effort, "standard"),
    "best": functools.partial(effort, "best"),
    "standard-kt": python,
}
"""Name → function, in the order of the tables."""
