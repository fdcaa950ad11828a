"""The shortest way from a folder to a classifier: what ``keras-transfer train --data`` does, as a function."""

from __future__ import annotations

import json
import os
from pathlib import Path

from keras_transfer import text
from keras_transfer.arguments import checked
from keras_transfer.arguments.types import AnyPath, Backend, Callbacks, Effort, Natural, Printer, Seed, Settings
from keras_transfer.classifier import Classifier, load
from keras_transfer.config.load import load_config
from keras_transfer.config.schema import RunConfig
from keras_transfer.evaluation.leaderboard import Leaderboard
from keras_transfer.training import crossvalidation
from keras_transfer.training.crossvalidation import CrossValidated
from keras_transfer.training.train import train


@checked
def fine_tune(
    data: AnyPath,
    *,
    effort: Effort = "standard",
    backend: Backend | None = None,
    output: AnyPath | None = None,
    seed: Seed = 0,
    unlabelled: AnyPath | None = None,
    settings: Settings = (),
    callbacks: Callbacks = (),
    say: Printer = text.say,
) -> Classifier:
    """Make the best classifier of some images that a pretrained backbone allows.

    It is the same procedure as ``keras-transfer train --data DATA``, with the same result and the same files in the run directory.

    Args:
        data: a folder with a folder of images for each class; or a ``.csv``, ``.txt`` list or ``.npz`` file.
        effort: ``"quick"`` (seconds), ``"standard"``, ``"best"``, or minutes for fine-tuning.
        backend: ``"torch"``, ``"tensorflow"`` or ``"jax"``; None: ``KERAS_BACKEND``, else the first that is installed.
        output: run directory; None: ``runs/NAME-DATE-TIME``.
        seed: of the split into training and test images, and of everything random in training.
        unlabelled: a folder of images without labels, from which the head learns too if out-of-fold predictions say that it helps.
        settings: ``KEY=VALUE`` strings with dotted keys of the configuration, as ``--set`` takes them.
        callbacks: your own Keras callbacks, for phases that train by gradients.
        say: prints a line.

    Returns:
        The classifier of the run. Its ``leaderboard`` has the candidates that were compared, its ``run`` the run directory.

    Raises:
        UserError: anything the user can fix.

    Examples:
        >>> clf = kt.fine_tune("photos", effort="quick", output="runs/quick", say=lambda line: None,
        ...                    settings=["model.backbone=efficientnet_lite0", "data.image_size=64", "output.report=false"])
        >>> clf.predict("photos/apple/000.png").classes[0]
        'apple'
    """
    more = [] if unlabelled is None else [f"data.unlabelled={json.dumps(os.fspath(unlabelled))}"]
    config = _config(data, output, [f"effort={effort}", f"seed={seed}", *more, *settings])
    run = train(config, backend=backend, callbacks=callbacks, say=say)
    classifier = load(run.model)
    classifier.run = Path(run.path)
    metrics = run.read_json(run.metrics)
    if "leaderboard" in metrics:
        classifier.leaderboard = Leaderboard.read(metrics["leaderboard"])
    return classifier


@checked
def cross_validate(
    data: AnyPath,
    *,
    folds: Natural = 5,
    effort: Effort = "standard",
    backend: Backend | None = None,
    output: AnyPath | None = None,
    seed: Seed = 0,
    settings: Settings = (),
    say: Printer = text.say,
) -> CrossValidated:
    """Judge the procedure of :func:`fine_tune` by k-fold cross-validation, and train a final model on all images.

    It is the same as ``keras-transfer train DATA --folds 5``; see :func:`keras_transfer.training.crossvalidation.cross_validate`.

    Args:
        data: as for :func:`fine_tune`.
        folds: how many, at least 2.
        effort: as for :func:`fine_tune`, for each training.
        backend: Keras backend.
        output: run directory of the final model.
        seed: of everything random in training; the folds do not depend on it.
        settings: ``KEY=VALUE`` strings with dotted keys of the configuration.
        say: prints a line.

    Returns:
        Mean and spread of the figures, the metrics of each fold, and the run of the final model, which ``kt.load`` opens.

    Raises:
        UserError: anything the user can fix.
    """
    config = _config(data, output, [f"effort={effort}", f"seed={seed}", *settings])
    return crossvalidation.cross_validate(config, folds=folds, backend=backend, say=say)


def _config(data: str | Path, output: str | Path | None, overrides: list[str]) -> RunConfig:
    return load_config(None, overrides, os.fspath(data), None if output is None else os.fspath(output))
