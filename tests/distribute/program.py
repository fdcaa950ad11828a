"""What each process of a tested training runs: train, or go on with a run, and write a digest of the weights it ends with.

python [-m torch.distributed.run …] tests/distribute/program.py CONFIG OUTPUT [DIE_RANK DIE_STEP]
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from pathlib import Path

import keras_transfer as kt
from keras_transfer.cli.app import main
from keras_transfer.distribute import place
from keras_transfer.training import train as training


def watch(output: Path, die: tuple[int, int] | None):
    """Callbacks that write the digest, and end one process at a step without a word."""
    import keras

    here = place()
    rank = here.rank if here else 0

    class Watch(keras.callbacks.Callback):
        steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if die == (rank, self.steps):
                os.kill(os.getpid(), signal.SIGKILL)

        def on_train_end(self, logs=None):
            digest = hashlib.sha256()
            for weight in self.model.get_weights():
                digest.update(weight.tobytes())
            output.with_name(f"{output.name}.{rank}").write_text(digest.hexdigest())

    return [Watch()]


def with_watch(output: Path, die: tuple[int, int] | None) -> None:
    original = training.train
    training.train = lambda config, **more: original(config, **more, callbacks=None or watch(output, die))


if __name__ == "__main__":
    config, output, *rest = sys.argv[1:]
    kt.use_backend()
    with_watch(Path(output), (int(rest[0]), int(rest[1])) if rest else None)
    resumes = Path(output, "config.yaml").is_file()
    words = ["--resume"] if resumes else [config]
    sys.exit(main(["train", *words, "--output", output]))
