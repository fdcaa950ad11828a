"""What the ``lr-find`` command does: a range test of every phase of a configuration, as lines, an image and JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_transfer import text
from keras_transfer.config.schema import RunConfig
from keras_transfer.console import wrote
from keras_transfer.distribute import is_follower
from keras_transfer.files import check_output, write_json
from keras_transfer.training.prepare import prepare
from keras_transfer.typing import Say, quiet


def lr_find(
    config: RunConfig,
    *,
    output: str | Path | None = None,
    json_file: str | Path | None = None,
    backend: str | None = None,
    device: str | None = None,
    say: Say = text.say,
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
    follows = is_follower()  # another process prints and writes
    say = quiet if follows else say
    if not follows:
        check_output("--output", output, ".png")
        check_output("--json", json_file)
    prepared = prepare(config, backend=backend, device=device, needs_validation=False, say=say)
    prepared.say_choices(say)

    from keras_transfer import plots
    from keras_transfer.training.build import make_setup
    from keras_transfer.training.range_test import find_rates

    with make_setup(prepared.config, prepared.data, group=prepared.group) as setup:
        found = find_rates(setup, say=say)
    prepared.group.close()
    if follows:
        return found
    if output is not None:
        plots.rate_sweeps(found, output)
        wrote(output)
    if json_file is not None:
        resolved = prepared.config.model_dump(mode="json")
        write_json(json_file, {"config": resolved, "sweeps": [asdict(one) for one in found]})
        wrote(json_file)
    return found
