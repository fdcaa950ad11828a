"""The freeze audit must find faults that are planted, and only those."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_transfer.models.audit import AuditError, FreezeAudit
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.freeze import apply_train

pytestmark = pytest.mark.backend

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.float32)
LABELS = np.arange(8) % 4


@pytest.fixture
def model() -> keras.Model:
    return build_classifier("tiny", 4, 16, weights="none")


def compile_model(model: keras.Model) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, jit_compile=False)


def fit(model: keras.Model) -> None:
    model.fit(PIXELS, LABELS, batch_size=4, verbose=0)


def audited(model: keras.Model) -> FreezeAudit:
    audit = FreezeAudit()
    audit.snapshot(model)
    return audit


@pytest.mark.parametrize(("train", "batch_norm"), [("head", "train"), ("last 2 groups", "frozen"), ("all", "train")])
def test_a_right_phase_passes(model, train, batch_norm):
    apply_train(model, "tiny", train, batch_norm)
    compile_model(model)
    audit = audited(model)
    fit(model)
    audit.check(model)


def test_finds_a_batch_norm_left_in_training_mode(model):
    apply_train(model, "tiny", "head")
    audit = audited(model)
    model.get_layer("stem_bn").trainable = True
    compile_model(model)
    fit(model)
    with pytest.raises(AuditError, match=r"frozen variables moved: .*stem_bn/moving_mean"):
        audit.check(model)


def test_finds_a_phase_that_was_not_recompiled(model):
    """Unfreezing without compiling: where the backend does not refuse it itself, the audit does."""
    apply_train(model, "tiny", "head")
    compile_model(model)
    fit(model)
    apply_train(model, "tiny", "all")
    audit = audited(model)
    refusal = {"torch": "Unknown variable", "jax": "optimizer was built with 2 variables"}
    if keras.backend.backend() in refusal:
        with pytest.raises(ValueError, match=refusal[keras.backend.backend()]):
            fit(model)
        return
    fit(model)
    with pytest.raises(AuditError, match="12 trainable variables did not move: block1_bn/beta"):
        audit.check(model)


def test_finds_a_head_that_does_not_move(model):
    apply_train(model, "tiny", "last 1 groups", batch_norm="frozen")
    audit = audited(model)
    model.get_layer("logits").trainable = False
    compile_model(model)
    fit(model)
    with pytest.raises(AuditError, match="2 trainable variables did not move: logits/bias, logits/kernel"):
        audit.check(model)


def test_finds_statistics_that_are_not_updated(model):
    apply_train(model, "tiny", "all")
    audit = audited(model)
    for variable in model.trainable_variables:
        variable.assign(variable.value + 1)
    with pytest.raises(AuditError, match="4 BatchNorm layers train but kept their statistics: block1_bn"):
        audit.check(model)
    for name in ("stem_bn", "block1_bn", "block2_depthwise_bn", "block2_bn"):
        norm = model.get_layer(name)
        norm.moving_variance.assign(norm.moving_variance.value + 1)
    audit.check(model)


def test_names_a_few_and_counts_all(model):
    apply_train(model, "tiny", "head")
    audit = audited(model)
    for variable in model.weights:
        variable.assign(variable.value + 1)
    with pytest.raises(AuditError, match=r"20 frozen variables moved: .* and 15 more"):
        audit.check(model)


def test_random_states_are_not_looked_at(model):
    apply_train(model, "tiny", "head")
    audit = audited(model)
    model(PIXELS, training=True)  # advances dropout's generator
    model.get_layer("logits").kernel.assign(model.get_layer("logits").kernel.value + 1)
    model.get_layer("logits").bias.assign(model.get_layer("logits").bias.value + 1)
    audit.check(model)


def test_another_model_is_noticed(model):
    audit = audited(model)
    with pytest.raises(AuditError, match="not those of the snapshot"):
        audit.check(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))


def test_check_needs_a_snapshot(model):
    with pytest.raises(RuntimeError, match="without snapshot"):
        FreezeAudit().check(model)
