"""Settings chosen from the data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from keras_transfer import runtime
from keras_transfer.config.load import complete, load_config, validate
from keras_transfer.config.resolved import Decision
from keras_transfer.data import arrays, folder
from keras_transfer.errors import UserError
from keras_transfer.policy.resolve import Machine, decisions_as_json, resolve
from tests.conftest import make_photos

pytestmark = pytest.mark.backend


def noise(counts, side, grey=False):
    rng = np.random.default_rng(0)
    n = sum(counts)
    x = rng.integers(0, 256, (n, side, side) if grey else (n, side, side, 3), dtype=np.uint8)
    return arrays(x, np.repeat(np.arange(len(counts)), counts))


def machine(config):
    import keras

    return Machine.of(config, runtime.Choice(keras.backend.backend(), "for this test"))


def resolved(opened, probe=False, **tree):
    config = validate(tree)
    return resolve(config, opened, machine(config), probe=probe)


def test_no_auto_is_left_and_every_choice_has_a_reason():
    config = resolved(noise([20, 20], 32))
    assert config.phases[0].strength == "auto"  # found where the features are, when the phase begins
    assert "auto" not in str(config.model_dump()).replace("'strength': 'auto'", "")
    keys = [decision.key for decision in config.decisions]
    assert {"data.image_size", "data.batch_size", "data.augment", "phases.0", "phases.1", "precision"} <= set(keys)
    assert len(set(keys)) == len(keys) and all(decision.reason for decision in config.decisions)
    assert "decisions" not in config.model_dump()
    assert complete(validate(config.model_dump(mode="json"))) == config.model_copy(update={"decisions": ()})


def test_a_resolved_configuration_cannot_be_changed():
    config = resolved(noise([20, 20], 32))
    for section, key in ((config, "seed"), (config.data, "batch_size"), (config.phases[0], "epochs")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, key, 3)
    found = config.with_learning_rate(1, 0.5, "for this test")
    assert found.phases[1].learning_rate == 0.5 and config.phases[1].learning_rate != 0.5
    assert found.decisions[-1] == Decision("phases.1.learning_rate", 0.5, "for this test")


def test_decisions_are_read_as_they_were_written():
    decisions = resolved(noise([20, 20], 32)).decisions
    stored = json.loads(json.dumps(decisions_as_json(decisions)))
    assert Decision.read(stored) == list(decisions)
    old = Decision.read(["data.batch_size = 16 (a small set)", "phase head: up to 10 epochs"])
    assert old[0] == Decision("data.batch_size", "16", "a small set") and "up to 10" in str(old[1])


def test_what_the_user_set_is_kept():
    config = resolved(noise([20, 20], 32), data={"image_size": 48, "batch_size": 5, "augment": []})
    assert (config.data.image_size, config.data.batch_size, config.data.augment) == (48, 5, [])
    assert not any(config.decided(f"data.{key}") for key in ("image_size", "batch_size", "augment"))


@pytest.mark.parametrize(
    ("counts", "side", "grey", "size"),
    [([50, 50], 8, True, 64), ([50, 50], 28, True, 96), ([50, 50], 300, False, 224), ([2200, 2200], 32, False, 128)],
)
def test_image_size_follows_the_images_and_the_work(counts, side, grey, size):
    if side == 300:
        counts = [10, 10]
    assert resolved(noise(counts, side, grey)).data.image_size == size


def test_unbalanced_classes_are_weighted():
    scratch = {"weights": "none"}
    assert resolved(noise([60, 20], 16), model=scratch).data.class_weights == "sqrt"
    assert resolved(noise([30, 30], 16), model=scratch).data.class_weights == "none"
    assert resolved(noise([60, 20], 16)).data.class_weights == "none"  # a solved head stays calibrated


def test_grey_images_are_not_flipped_unasked_and_colour_ones_not_coloured_if_grey():
    grey = resolved(noise([20, 20], 32, grey=True)).data
    assert grey.color == "grey"
    assert "horizontal_flip" not in grey.augment
    colour = resolved(noise([20, 20], 32)).data
    assert "horizontal_flip" in colour.augment


def test_random_weights_train_everything_at_once():
    config = resolved(noise([20, 20], 32), model={"weights": "none"})
    assert [(phase.name, phase.batch_norm) for phase in config.phases] == [("all", "train")]
    config = resolved(noise([20, 20], 32))
    assert [(phase.name, phase.batch_norm) for phase in config.phases] == [("head", "frozen"), ("fine", "frozen")]


def test_a_phase_chosen_from_the_data_can_be_changed(tmp_path):
    data = folder(make_photos(tmp_path / "p", {"a": 20, "b": 20}))
    config = load_config(None, ["phases.1.epochs=3"], data=str(tmp_path / "p"))
    assert resolve(config, data, machine(config), probe=False).phases[1].epochs == 3
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        load_config(None, ["phases.1.epoch=3"], data=str(tmp_path / "p"))
    with pytest.raises(UserError, match=r"phases\.1: epochs.*greater"):
        load_config(None, ["phases.1.epochs=0"], data=str(tmp_path / "p"))
    config = load_config(None, ["phases.2.epochs=3"], data=str(tmp_path / "p"))
    with pytest.raises(UserError, match=r"phases\.2: .*from 0 to 1"):
        resolve(config, data, machine(config), probe=False)


def test_the_last_phase_is_the_one_that_fine_tunes(tmp_path):
    data = folder(make_photos(tmp_path / "p", {"a": 20, "b": 20}))

    def phases(*changes):
        config = load_config(None, list(changes), data=str(tmp_path / "p"))
        return resolve(config, data, machine(config), probe=False).phases

    head, fine = phases("phases.-1.epochs=200", "phases.-1.learning_rate=0.002")
    assert (head.solver, fine.epochs, fine.learning_rate) == ("exact", 200, 0.002), "however long it takes"
    (whole,) = phases("phases.-1.epochs=2", "model.weights=none")
    assert (whole.name, whole.epochs) == ("all", 2)
    given = phases("phases=[{name: head, epochs: 3}, {name: all, epochs: 9}]", "phases.-1.epochs=4")
    assert [phase.epochs for phase in given] == [3, 4]
    with pytest.raises(UserError, match="effort quick leaves out fine-tuning"):
        phases("phases.-1.epochs=2", "effort=quick")


def test_mirror_images_are_told_apart_only_if_something_gives_them_away():
    from keras_transfer.policy.mirror import told_apart

    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    plain, mirrored = rng.normal(size=(120, 20)), rng.normal(size=(120, 20))
    assert 0.35 < told_apart(plain, mirrored, labels, 0)[0] < 0.65
    # One direction for class 0, the opposite for class 1: only a probe that knows the class sees it.
    plain[:, 3] += np.where(labels == 0, 3, -3)
    share, count = told_apart(plain, mirrored, labels, 0)
    assert share > 0.9
    assert count == 120
    assert told_apart(plain[:5], mirrored[:5], labels[:5], 0) == (0.5, 0)


def test_the_mirror_probe_says_no_to_digits():
    from keras_transfer.data import digits
    from keras_transfer.policy.mirror import feature_model, mirror_probe

    features = feature_model("efficientnet_lite0", "imagenet", (64, 64), "grey")
    keeps, why = mirror_probe(digits(), features, "squash", 0)
    assert not keeps
    assert "mirror" in why
