"""The Python interface, as the README shows it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.html_page import shown_html

pytestmark = pytest.mark.backend


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from tests.conftest import make_photos

    photos = make_photos(tmp_path_factory.mktemp("api") / "photos", {"apple": 20, "berry": 20, "cherry": 20})
    return kt.data.folder(photos, image_size=32)


@pytest.fixture(scope="module")
def trained(data):
    class Count(keras.callbacks.Callback):
        epochs = 0

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += 1
            assert self.model.output_shape == (None, 3)

    clf = kt.Classifier("tiny", classes=data.classes, image_size=32, weights="none")
    count = Count()
    phases = [kt.Phase("head", epochs=2, learning_rate=1e-2), kt.Phase("all", epochs=8, learning_rate=1e-2)]
    result = clf.fit(data, phases=phases, callbacks=[count], batch_size=8, verbose=False)
    assert count.epochs == len(result.history) == len(clf.history)
    return clf


def test_it_learns_and_evaluates(trained, data):
    assert trained.evaluate(data.test)["accuracy"] > 0.7


def test_it_predicts_paths_folders_and_arrays(trained, data):
    folder = data.samples.images.path(0).parent
    one = trained.predict(folder / "000.png", top=2)
    assert one.classes[0] in data.classes
    assert len(one.probabilities) == 2
    many = trained.predict(folder)
    assert len(many) == 20
    assert many[0].classes[0] == one.classes[0]
    array = trained.predict(data.test.read(0))
    assert array.probabilities[0] == pytest.approx(
        trained.predict([data.samples.images.path(int(data.test.indices[0]))])[0].probabilities[0], abs=1e-4
    )
    with pytest.raises(kt.UserError):
        trained.predict(folder / "nothing.png")


def test_it_is_saved_and_loaded_with_what_prediction_needs(trained, data, tmp_path):
    trained.save(tmp_path / "fruit.keras")
    loaded = kt.load(tmp_path / "fruit.keras")
    assert loaded.classes == trained.classes
    path = data.samples.images.path(0)
    assert loaded.predict(path).probabilities == pytest.approx(trained.predict(path).probabilities, abs=1e-5)
    with pytest.raises(kt.UserError, match=r"\.keras file"):
        trained.save(tmp_path / "fruit.h5")


def test_mistakes_are_said_before_training(data):
    clf = kt.Classifier("tiny", classes=["a", "b"], image_size=32, weights="none")
    with pytest.raises(kt.UserError, match="the model knows a, b"):
        clf.fit(data)
    clf = kt.Classifier("tiny", classes=data.classes, image_size=64, weights="none")
    with pytest.raises(kt.UserError, match="image_size"):
        clf.fit(data)
    with pytest.raises(kt.UserError, match="expected a list, got 'apple'"):
        kt.Classifier("tiny", classes="apple")


def test_augmentation_objects_and_no_threads(data):
    from keras_transfer.data.augment import HorizontalFlip

    clf = kt.Classifier("tiny", classes=data.classes, image_size=32, weights="none")
    options = {"augment": [HorizontalFlip(), "vertical_flip"], "workers": 0, "verbose": False}
    assert len(clf.fit(data, [kt.Phase("all", epochs=1)], **options).history) == 1
    with pytest.raises(kt.UserError, match=r"did you mean 'horizontal_flip'"):
        clf.fit(data, [kt.Phase("all", epochs=1)], augment=["horizontal_flop"])
    for name, value in (
        ("batch_size", 0),
        ("views", -1),
        ("cache", "here"),
        ("class_weights", "auto"),
        ("workers", "many"),
    ):
        with pytest.raises(kt.UserError, match=name):
            clf.fit(data, [kt.Phase("all", epochs=1)], **{name: value})


def test_cached_features_give_what_training_the_whole_model_gives(data):
    """The same head phase, once on features computed once and once through the whole model."""

    class Foreign(keras.callbacks.Callback):
        pass

    heads = []
    for callbacks in ([], [Foreign()]):
        clf = kt.Classifier(
            "tiny", classes=data.classes, image_size=32, weights="none", dropout=0.0, precision="float32"
        )
        clf.fit(data, phases=[kt.Phase("head", epochs=3, learning_rate=1e-2)], callbacks=callbacks, verbose=False)
        heads.append(clf.model.get_layer("logits").get_weights()[0])
    np.testing.assert_allclose(heads[0], heads[1], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_training_precision_is_that_of_fit_alone_unless_it_was_asked_for(data, monkeypatch, precision):
    from keras_transfer import runtime

    monkeypatch.setattr(runtime, "choose_precision", lambda *_: runtime.Choice("bfloat16", "for this test"))
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(self.model.get_layer("block1_conv").compute_dtype)

    clf = kt.Classifier("tiny", classes=data.classes, image_size=32, weights="none", precision=precision)
    outside = "float32" if precision == "auto" else "bfloat16"
    assert clf.model.get_layer("block1_conv").compute_dtype == outside
    clf.fit(data, phases=[kt.Phase("all", epochs=1)], callbacks=[Look()], verbose=False)
    assert set(seen) == {"bfloat16"}
    assert clf.model.get_layer("block1_conv").compute_dtype == outside


def test_a_notebook_shows_it(trained, data):
    assert "apple" in shown_html(trained)
    assert "Classifier('tiny'" in repr(trained)
    assert "tiny" in kt.backbones()
    with pytest.raises(AttributeError):
        kt.nothing  # noqa: B018
