"""Out of memory: recognized on every backend, reported in one line, and handled if the batch size is automatic."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.errors import Interrupted, UserError
from keras_transfer.training import phase_runner
from keras_transfer.training.average import AverageWeights
from keras_transfer.training.faults import is_not_deterministic, is_out_of_memory, not_deterministic, out_of_memory
from keras_transfer.training.train import resume_run, train
from tests.training.small import StopAt, read_weights, settings

pytestmark = pytest.mark.backend

PETABYTE = 1 << 50


def exhaust(backend: str):
    """Allocate more memory than any machine has."""
    if backend == "torch":
        import torch

        return torch.empty(PETABYTE, dtype=torch.uint8)
    if backend == "jax":
        import jax

        with jax.ensure_compile_time_eval():  # now, even while a step is traced
            return jax.numpy.zeros(PETABYTE, "uint8").block_until_ready()
    import tensorflow as tf

    return tf.zeros([PETABYTE], tf.uint8)


@pytest.fixture
def memory(backend, monkeypatch):
    """Simulate a machine that runs out of memory above `limit` images."""

    class Memory:
        limit = 10**6

    update = keras.metrics.Mean.update_state

    def check(count):
        if int(count) > Memory.limit:
            if backend == "tensorflow":
                raise MemoryError  # TensorFlow turns it into a ResourceExhaustedError
            exhaust(backend)
        return count

    def small(self, values, sample_weight=None):
        """Fails in place of the step: Keras passes the number of images, and does not call it for shape inference."""
        if self.name != "loss":
            return update(self, values, sample_weight)
        if backend != "tensorflow":
            return update(self, values, check(sample_weight))
        import tensorflow as tf

        with tf.control_dependencies([tf.py_function(check, [sample_weight], tf.int32)]):
            return update(self, tf.identity(values), sample_weight)

    monkeypatch.setattr(keras.metrics.Mean, "update_state", small)
    return Memory


def data_of(photos, **more):
    return {"path": str(photos), "image_size": 32, "augment": ["horizontal_flip"], "workers": 1, **more}


@pytest.mark.slow
def test_the_exception_of_the_framework_is_recognized(backend):
    with pytest.raises(Exception) as raised:
        exhaust(backend)
    assert is_out_of_memory(raised.value), repr(raised.value)


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes."), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (UserError("out of memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_other_exceptions_are_told_apart(error, found):
    assert is_out_of_memory(error) is found


def test_the_message_names_the_sizes_and_the_settings():
    assert "16 images of 224 × 160 at once (batch_size 32): set accumulate to 4" in str(
        out_of_memory(32, 16, (224, 160))
    )
    assert "accumulate" not in str(out_of_memory(32, 1, (224, 160)))


@pytest.mark.slow
def test_an_explicit_batch_size_gives_a_one_line_error(photos, tmp_path, memory):
    memory.limit = 8
    with pytest.raises(UserError, match=r"16 images of 32 × 32 at once .* set accumulate to 2") as raised:
        train(settings(photos, tmp_path / "run", data=data_of(photos, batch_size=16)), say=lambda _: None)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_the_classifier_raises_the_same(memory):
    memory.limit = 8
    data = kt.data.arrays(np.zeros((40, 16, 16, 3), np.uint8), np.arange(40) % 2, image_size=16)
    classifier = kt.Classifier("tiny", data.classes, weights="none", image_size=16)
    with pytest.raises(UserError, match="12 images of 16 × 16 at once"):
        classifier.fit(data, [kt.Phase("all", epochs=1)], batch_size=12, verbose=False)


@pytest.mark.slow
def test_an_automatic_batch_is_split_until_it_fits(photos, tmp_path, memory):
    memory.limit = 5
    lines = []
    run = train(settings(photos, tmp_path / "run", data=data_of(photos)), say=lines.append)
    assert [line for line in lines if "out of memory" in line] == [
        "out of memory: 8 images at once from here on (data.accumulate = 2)",
        "out of memory: 4 images at once from here on (data.accumulate = 4)",
    ]
    config = run.read_config()
    assert (config.data.batch_size, config.data.accumulate) == (16, 4)
    told = train(
        settings(photos, tmp_path / "told", data=data_of(photos, batch_size=16, accumulate=4)), say=lambda _: None
    )
    for a, b in zip(read_weights(run), read_weights(told)):
        np.testing.assert_array_equal(a, b)


class Tighten(keras.callbacks.Callback):
    """Reduce the memory after some epochs."""

    def __init__(self, memory, epochs):
        super().__init__()
        self._memory, self._left = memory, epochs

    def on_epoch_end(self, epoch, logs=None):
        self._left -= 1
        if self._left == 0:
            self._memory.limit = 8


@pytest.mark.slow
def test_a_later_phase_continues_from_the_previous_weights(photos, tmp_path, memory):
    phases = [
        {"name": "head", "epochs": 2, "learning_rate": 0.01},
        {"name": "all", "epochs": 2, "learning_rate": 0.003, "schedule": "cosine"},
    ]
    run = train(
        settings(photos, tmp_path / "run", data=data_of(photos), phases=phases),
        callbacks=[Tighten(memory, 2)],
        say=lambda _: None,
    )
    rows = [(row["phase"], row["epoch"]) for row in run.read_history()]
    assert rows == [("head", 1), ("head", 2), ("all", 1), ("all", 2)]
    assert run.read_config().data.accumulate == 2


@pytest.mark.slow
def test_a_rate_that_was_found_is_kept_when_memory_runs_out_later(photos, tmp_path, memory):
    phases = [
        {"name": "head", "epochs": 2, "learning_rate": "auto"},
        {"name": "all", "epochs": 2, "learning_rate": 0.003},
    ]
    run = train(
        settings(photos, tmp_path / "run", data=data_of(photos), phases=phases),
        callbacks=[Tighten(memory, 2)],
        say=lambda _: None,
    )
    config = run.read_config()
    assert config.data.accumulate == 2 and config.phases[0].learning_rate != "auto"
    keys = [decision["key"] for decision in run.read_json(run.manifest)["chosen"]]
    assert "phases.0.learning_rate" in keys and "data.batch_size" in keys


@pytest.mark.slow
def test_weight_averages_continue_too(photos, tmp_path, memory, monkeypatch):
    made = []

    class Watched(AverageWeights):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(phase_runner, "AverageWeights", Watched)
    phases = [{"name": "all", "epochs": 2, "learning_rate": 0.003, "average": "ema"}]
    config = settings(photos, tmp_path / "run", data=data_of(photos), phases=phases)
    run = train(config, callbacks=[Tighten(memory, 1)], say=lambda _: None)
    assert run.read_config().data.accumulate == 2
    assert [average.count for average in made] == [3, 6]  # steps


@pytest.mark.slow
def test_a_resumed_run_remembers_that_the_batch_size_was_automatic(photos, tmp_path, memory):
    with pytest.raises(Interrupted):
        train(settings(photos, tmp_path / "run", data=data_of(photos)), callbacks=[StopAt(1)], say=lambda _: None)
    memory.limit = 8
    cut = resume_run(tmp_path / "run")
    run = train(cut.read_config(), resume=cut, say=lambda _: None)
    assert run.read_config().data.accumulate == 2


@pytest.mark.slow
def test_a_single_image_that_does_not_fit_is_an_error(photos, tmp_path, memory):
    memory.limit = 0
    with pytest.raises(UserError, match=r"with 1 image of 32 × 32 at once"):
        train(settings(photos, tmp_path / "run", data=data_of(photos)), say=lambda _: None)


def test_a_non_deterministic_operation_is_a_one_line_error():
    error = RuntimeError("median CUDA does not have a deterministic implementation, but you set …\nYou can …")
    assert is_not_deterministic(error) and not is_not_deterministic(RuntimeError("deterministic"))
    assert "median CUDA" in str(not_deterministic(error)) and "\n" not in str(not_deterministic(error))
