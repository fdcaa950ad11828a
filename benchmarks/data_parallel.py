"""Data-parallel training steps on torch: what the group of processes costs, images per second.

One process with the group's steps against one without them, and two processes of one thread against one process of two threads, on
the same batches. `model.fit` trains every weight with AdamW.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.contenders import keras_classifier, pixels, throughput
from benchmarks.harness import ROOT, Case, Options, Rival

MODELS = ("mobilenet_v2", "efficientnet_lite0")
BATCH, SIZE = 32, 160
ALONE, GROUP, TWO = "one process", "data_parallel, one process", "data_parallel, two processes"


def cases(options: Options) -> list[Case]:
    found = []
    for model in options.choose("models", MODELS):
        common = {"model": model, "batch": options.batch or BATCH, "size": options.size or SIZE}
        single, double = {"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "2"}
        found.append(
            Case(
                f"{model}, overhead, batch {common['batch']}",
                "images/s",
                (
                    Rival(ALONE, f"{__name__}:steps", {**common, "processes": 0}, double),
                    Rival(GROUP, f"{__name__}:steps", {**common, "processes": 1}, double, (ALONE,), 0.97),
                ),
            )
        )
        found.append(
            Case(
                f"{model}, two cores, batch {common['batch']}",
                "images/s",
                (
                    Rival(f"{ALONE}, two threads", f"{__name__}:steps", {**common, "processes": 0}, double),
                    Rival(
                        TWO, f"{__name__}:steps", {**common, "processes": 2}, single, (f"{ALONE}, two threads",), 0.9
                    ),
                ),
            )
        )
    return found


def steps(model: str, batch: int, size: int, processes: int) -> Callable[[], float]:
    """Prepare to train; 0 processes: as without a group."""
    followers = []
    if processes:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(processes)}
        os.environ |= {**place, "RANK": "0"}
        code = f"from benchmarks.data_parallel import follow; follow({model!r}, {batch}, {size})"
        for rank in range(1, processes):
            environment = {**os.environ, "RANK": str(rank)}
            followers.append(subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment))
    group, fit = _prepared(model, batch, size)

    def step(count: int) -> None:
        group.from_main(lambda: count)
        fit(count)

    measure = throughput(step, batch)
    return _Measured(measure, followers)


class _Measured:
    """Measures, and ends the other processes with this one."""

    def __init__(self, measure: Callable[[], float], followers: list[subprocess.Popen[bytes]]):
        self.measure, self.followers = measure, followers

    def __call__(self) -> float:
        return self.measure()

    def __del__(self) -> None:
        for follower in self.followers:
            follower.kill()


def follow(model: str, batch: int, size: int) -> None:
    """Train as often as process 0 does, until it ends."""
    group, fit = _prepared(model, batch, size)
    while True:
        fit(group.from_main(lambda: 0))


def _prepared(model: str, batch: int, size: int) -> tuple[Any, Callable[[int], None]]:
    classifier = keras_classifier(model, size, "float32", "torch", True)
    import keras
    import numpy as np

    from keras_transfer.config.schema import Phase
    from keras_transfer.distribute import ALONE as NO_GROUP
    from keras_transfer.distribute import place
    from keras_transfer.training.optimizer import compile_phase
    from keras_transfer.training.setup import TrainingSettings

    here, group = place(), NO_GROUP
    if here is not None:
        from keras_transfer.distribute.torch_group import TorchGroup

        group = TorchGroup(here, "cpu")
    images, labels = pixels(batch, size)
    rows = group.shard.of(np.arange(batch))

    class Steps(keras.utils.PyDataset):
        """This process's share of the same batch, repeated."""

        def __init__(self, count: int):
            super().__init__()
            self.count = count

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, index: int) -> Any:
            return images[rows], labels[rows]

        def batch_length(self, index: int) -> int:
            return batch

    def fit(count: int) -> None:
        callbacks: list[Any] = []
        if here is not None:
            from keras_transfer.training.data_parallel import DataParallel
            from keras_transfer.training.stopping import StopRequest

            callbacks = [DataParallel(group, Steps(count), None, batch, StopRequest(alone=False))]
        classifier.fit(Steps(count), verbose=0, shuffle=False, callbacks=callbacks)

    compile_phase(
        classifier, Phase(name="all", epochs=1, learning_rate=1e-4, train="all"), 100, TrainingSettings(model, ())
    )
    return group, fit


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
