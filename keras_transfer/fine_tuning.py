"""The shortest way from a folder to a classifier: what ``keras-transfer train --data`` does, as a function."""

from __future__ import annotations

import os
from pathlib import Path

from keras_transfer import text
from keras_transfer.arguments import checked
from keras_transfer.arguments.types import AnyPath, Backend, Callbacks, Effort, Printer, Seed, Settings
from keras_transfer.classifier import Classifier, load
from keras_transfer.config.load import load_config
from keras_transfer.evaluation.leaderboard import Leaderboard
from keras_transfer.training.train import train


@checked
def fine_tune(
    data: AnyPath,
    *,
    effort: Effort = "standard",
    backend: Backend | None = None,
    output: AnyPath | None = None,
    seed: Seed = 0,
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
    overrides = [f"effort={effort}", f"seed={seed}", *settings]
    config = load_config(None, overrides, os.fspath(data), None if output is None else os.fspath(output))
    run = train(config, backend=backend, callbacks=callbacks, say=say)
    classifier = load(run.model)
    classifier.run = Path(run.path)
    metrics = run.read_json(run.metrics)
    if "leaderboard" in metrics:
        classifier.leaderboard = Leaderboard.read(metrics["leaderboard"])
    return classifier
