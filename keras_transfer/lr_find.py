"""What the ``lr-find`` command does: a range test of every phase of a configuration, as lines, an image and JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_transfer import runtime
from keras_transfer.config.schema import RunConfig
from keras_transfer.files import check_output, write_json


def lr_find(
    config: RunConfig,
    *,
    output: str | Path | None = None,
    json_file: str | Path | None = None,
    backend: str | None = None,
    device: str | None = None,
    say: Callable[[str], None] = print,
) -> list[Any]:
    """Find a learning rate for every phase: the head's, then that of what thaws after it. Nothing is trained for good.

    Args:
        config: what would be trained; its learning rates do not matter.
        output: the PNG to draw the sweeps into.
        json_file: where to write them as JSON.
        backend: overrides ``KERAS_BACKEND`` and the configuration.
        device: overrides the configuration.
        say: prints a line.

    Returns:
        A :class:`~keras_transfer.training.range_test.Sweep` a phase.

    Raises:
        UserError: what a training with this configuration would refuse; a file that cannot be written.
    """
    from keras_transfer.training.train import open_data

    check_output("--output", output, ".png")
    check_output("--json", json_file)
    choice = runtime.choose_backend(backend, config.backend)
    say(f"backend: {choice}")
    data = open_data(config)
    runtime.activate(choice.value, device or config.device, config.deterministic)
    runtime.hide_progress_bars()

    from keras_transfer import plots
    from keras_transfer.policy.resolve import resolve
    from keras_transfer.training import build
    from keras_transfer.training.range_test import SweepSettings, find_rates

    config, choices = resolve(config, data)
    for line in choices:
        say(f"chosen: {line}")
    runtime.set_seed(config.seed)
    precision = runtime.choose_precision(config.precision, runtime.device_in_use(), config.model.native).value
    model, batches = build.make_model(config, data, precision), build.make_batches(config, data)
    build.check_phases(config, model)
    settings = SweepSettings(
        label_smoothing=config.model.label_smoothing,
        weighted=data.train.weights is not None,
        accumulate=config.data.accumulate,
        native=config.model.native,
    )
    phases: Any = config.phases
    with contextlib.closing(batches):
        found = find_rates(model, config.model.backbone, phases, batches.train, settings, say)
    if output is not None:
        plots.rate_sweeps(found, output)
    if json_file is not None:
        write_json(json_file, {"config": config.model_dump(mode="json"), "sweeps": [asdict(one) for one in found]})
    return found
