"""Training steps: forward, backward and update of every weight with AdamW, images per second.

Keras trains by `model.fit`, PyTorch in a loop: both on the same uint8 batch in memory, both with running loss and accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import contenders
from benchmarks.contenders import finish, keras_classifier, pixels, throughput, torch_module
from benchmarks.harness import Case, Options


def cases(options: Options) -> list[Case]:
    return contenders.cases(options, __name__)


def by_hand(model: str, precision: str, batch: int, size: int, compiled: bool) -> Callable[[], float]:
    torch, module, device = torch_module(model, compiled)
    images, labels = (torch.from_numpy(array) for array in pixels(batch, size))
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)
    lossy = precision == "bfloat16"

    def step(count: int) -> None:
        module.train()
        loss_sum = torch.zeros((), device=device)
        correct = torch.zeros((), device=device, dtype=torch.int64)
        for _ in range(count):
            # A batch of channels-last images is a channels-last tensor: no copy.
            x, y = images.to(device).permute(0, 3, 1, 2), labels.to(device)
            with torch.autocast(device, torch.bfloat16, enabled=lossy):
                logits = module(x)
            loss = torch.nn.functional.cross_entropy(logits.float(), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach()
            correct += (logits.argmax(1) == y.argmax(1)).sum()
        loss_sum.item()
        finish(torch, device)

    return throughput(step, batch)


def with_keras(model: str, precision: str, batch: int, size: int, backend: str, ours: bool) -> Callable[[], float]:
    classifier = keras_classifier(model, size, precision, backend, ours)
    import keras

    from keras_transfer.config.schema import Phase
    from keras_transfer.training.optimizer import compile_phase
    from keras_transfer.training.setup import TrainingSettings

    images, labels = pixels(batch, size)

    class Steps(keras.utils.PyDataset):
        """The same batch, repeated."""

        def __init__(self, count: int):
            super().__init__()
            self.count = count

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, index: int) -> Any:
            return images, labels

    compile_phase(
        classifier, Phase(name="all", epochs=1, learning_rate=1e-4, train="all"), 100, TrainingSettings(model, ())
    )
    return throughput(lambda count: classifier.fit(Steps(count), verbose=0, shuffle=False), batch)
