"""Whatever is given to a public function: a result, or a UserError that names the argument."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_transfer as kt
from keras_transfer.training.phase_runner import PhaseRunner

pytestmark = [pytest.mark.backend, pytest.mark.filterwarnings("ignore")]

ODD = {
    "None": None, "True": True, "-1": -1, "0": 0, "2.5": 2.5, "nan": float("nan"), "huge": 10**30, "empty text": "", "text": "balanse",
    "NUL": "a\0b", "bytes": b"\xff", "list": [], "list of None": [None], "list of dicts": [{}], "nested": [[1], [2, 3]], "dict": {},
    "dict of text": {"a": "b"}, "set": {"a", "b"}, "object": object(), "class": dict, "function": len, "array": np.zeros((3, 5, 5), np.uint8),
    "float array": np.zeros(3), "text array": np.array(["a", "a"]), "path": Path("nowhere"), "complex": 1j, "generator": (i for i in ()),
    "int64": np.int64(1), "float32": np.float32(0.5), "numpy bool": np.bool_(True),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("doors")
    for name in "ab":
        (root / "photos" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(root / "photos" / name / f"{i}.png")
    (root / "list.txt").write_text("".join(f"photos/{name}/{i}.png {name}\n" for name in "ab" for i in range(4)))
    (root / "list.csv").write_text(
        "path,label\n" + "".join(f"photos/{name}/{i}.png,{name}\n" for name in "ab" for i in range(4))
    )
    return root


X, Y = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), np.uint8), np.arange(16) % 2


@pytest.fixture(scope="module")
def data():
    return kt.data.arrays(X, Y, classes=["a", "b"], image_size=16)


@pytest.fixture(scope="module")
def classifier():
    made = kt.Classifier("tiny", ["a", "b"], image_size=16, weights="none")
    made._is_new = False  # fit without phases then trains the default phases, and compares nothing
    return made


def calls(place, data, clf):
    """Return name → (function, arguments that work)."""
    config = kt.load_config(data=str(place / "photos"), overrides=["model.backbone=tiny", "model.weights=none"])
    phases = [kt.Phase("head", epochs=1)]
    return {
        "use_backend": (kt.use_backend, {}),
        "Phase": (kt.Phase, {"name": "head"}),
        "Classifier": (kt.Classifier, {"backbone": "tiny", "classes": ["a", "b"], "image_size": 16, "weights": "none"}),
        "fine_tune": (kt.fine_tune, {"data": str(place / "nowhere"), "say": lambda _: None}),
        "load": (kt.load, {"path": str(place / "nowhere.keras")}),
        "load_config": (kt.load_config, {"data": str(place / "photos")}),
        "train": (kt.train, {"config": config, "say": _stop}),
        "fit": (clf.fit, {"data": data, "phases": phases, "verbose": False}),
        "lr_find": (clf.lr_find, {"data": data, "phases": phases, "steps": 20, "verbose": False}),
        "evaluate": (clf.evaluate, {"data": data.test}),
        "predict": (clf.predict, {"images": X[0]}),
        "score": (clf.score, {"data": data.test}),
        "embed": (clf.embed, {"images": X[0]}),
        "explain": (clf.explain, {"images": X[0]}),
        "summary": (clf.summary, {"print_fn": lambda _: None}),
        "export": (clf.export, {"formats": "nothing"}),
        "open": (kt.data.open, {"data": X, "y": Y}),
        "save": (clf.save, {"path": str(place / "model.keras")}),
        "build": (kt.data.build, {"source": "folder", "path": str(place / "photos")}),
        "folder": (kt.data.folder, {"path": str(place / "photos")}),
        "list_file": (kt.data.list_file, {"path": str(place / "list.txt")}),
        "csv": (kt.data.csv, {"path": str(place / "list.csv")}),
        "arrays": (kt.data.arrays, {"x": X, "y": Y}),
        "idx": (kt.data.idx, {"path": str(place)}),
        "digits": (kt.data.digits, {"limit": 40, "limit_test": 10}),
        "cifar10": (kt.data.cifar10, {"path": str(place)}),
        "cifar100": (kt.data.cifar100, {"path": str(place)}),
        "write_shards": (kt.data.write_shards, {"data": X, "output": str(place / "shards"), "y": Y}),
        "Dataset": (kt.data.Dataset, {"samples": data.samples}),
        "Split": (kt.data.Split, {"name": "test", "samples": data.samples, "indices": [0, 1]}),
        "with_classes": (data.with_classes, {"classes": ["b", "a"]}),
        "read": (data.train.read, {"i": 0}),
        "image_name": (data.train.image_name, {"i": 0}),
        "take": (data.train.take, {"positions": [0]}),
    }  # fmt: skip


NAMES = [
    "use_backend", "Phase", "Classifier", "fine_tune", "load", "load_config", "train", "fit", "lr_find", "evaluate", "predict", "score",
    "embed", "explain", "summary", "export", "open", "save", "build", "folder", "list_file", "csv", "arrays", "idx", "digits", "cifar10", "cifar100", "write_shards", "Dataset", "Split", "with_classes", "read",
    "image_name", "take",
]  # fmt: skip


def _stop(_: object) -> None:
    raise kt.UserError("far enough")


def _options(function) -> list[str]:
    if function is kt.Phase:
        return list(kt.Phase.model_fields)
    own = [p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    common = (
        list(kt.data.Common.__annotations__) if getattr(function, "__module__", "") == "keras_transfer.data" else []
    )
    return [name for name in dict.fromkeys([*own, *common]) if name not in ("deterministic", "device")]


@pytest.mark.parametrize("name", NAMES)
def test_a_result_or_a_user_error(name, place, data, classifier, monkeypatch):
    monkeypatch.setattr(PhaseRunner, "run", lambda _: _stop(_))  # arguments have been checked by then
    monkeypatch.setattr("keras_transfer.training.range_test.find_rates", lambda *_: _stop(0))
    monkeypatch.chdir(place)
    function, good = calls(place, data, classifier)[name]
    failures = []
    for option in _options(function):
        for kind, value in ODD.items():
            if (
                option in ("say", "print_fn") and kind == "class"
            ):  # something that can be called: what it does is its own business
                continue
            try:
                function(**{**good, option: value})
            except kt.UserError as error:
                if "errors.pydantic.dev" in str(error) or not str(error):
                    failures.append(f"{option}={kind}: {error}")
            except BaseException as error:
                failures.append(f"{option}={kind}: {type(error).__name__}: {str(error)[:100]}")
    if name != "Dataset":  # a dataclass
        with pytest.raises(kt.UserError):
            function(**good, no_such_argument=1)
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda d, c: c.fit(d, class_weights="balance"), "did you mean 'balanced'"),
        (lambda d, c: c.fit(d, class_weights=False), "class_weights: expected none, balanced, sqrt or class names"),
        (lambda d, c: c.fit(d, class_weights={"c": 2.0}), "'c' is not one of the 2 classes"),
        (lambda d, c: c.fit(d, class_weights={"a": -1}), "class_weights.a"),
        (lambda d, c: c.fit(d, label_smoothing=3), "label_smoothing"),
        (lambda d, c: c.fit(d, batch_size=2.5), "batch_size"),
        (lambda d, c: c.fit(d, batch_size=True), "batch_size: expected a number, got a boolean"),
        (lambda d, c: c.fit(d, []), "at least one phase"),
        (lambda d, c: c.fit(d, {"name": "head"}), "in brackets"),
        (lambda d, c: c.fit(d, [kt.Phase("head"), kt.Phase("head")]), "different names"),
        (lambda d, c: c.fit(d, epoch=3), "fit has no argument 'epoch'; did you mean 'epochs'"),
        (lambda d, c: c.evaluate(3), "expected a path, arrays"),
        (lambda d, c: c.fit(d, [0, 1]), "has labels of its own"),
        (lambda d, c: kt.Phase("head", lr=1e-3), "did you mean 'learning_rate'"),
        (lambda d, c: kt.Phase("head", 3), "named arguments"),
        (lambda d, c: kt.Classifier("tiny", ["a", "a"]), "'a' occurs twice"),
        (lambda d, c: kt.Classifier("tiny", {"a", "b"}), "has an order, got a set"),
        (lambda d, c: kt.Classifier("tiny", ["a", None]), "got None"),
        (lambda d, c: kt.Classifier("tiny", ["a", "b"], color="gray"), "did you mean 'grey'"),
        (lambda d, c: kt.Classifier("tiny", ["a", "b"], resize="stretch"), "did you mean 'squash'"),
        (lambda d, c: kt.Classifier("tiny", ["a", "b"], image_size=(32,)), "height, width"),
        (lambda d, c: kt.RunConfig.model_validate({"data": {"bath_size": 3}}), "did you mean 'batch_size'"),
        (lambda d, c: c.predict(np.zeros((3, 32, 32), np.uint8)), "channels first"),
        (lambda d, c: c.predict(np.zeros((32, 32, 2), np.uint8)), "two channels"),
        (lambda d, c: c.predict(np.zeros((32, 32, 5), np.uint8)), "5 channels, or 32 grey images 5 pixels wide"),
        (lambda d, c: c.predict(np.ma.masked_array(X[0], X[0] > 3)), "masked"),
        (lambda d, c: c.save("x.keras", golden=X / 255.0), "golden: expected uint8"),
        (lambda d, c: c.save("x.keras", golden=X[:0]), "golden: expected uint8"),
        (lambda d, c: kt.data.arrays(np.ma.masked_array(X, X > 3), Y), "masked"),
        (lambda d, c: kt.data.arrays(X, Y, seed=-1), "seed"),
    ],
)  # fmt: skip
def test_what_is_said(call, words, data, classifier):
    with pytest.raises(kt.UserError) as error:
        call(data, classifier)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_values_in_other_forms_mean_the_same(data):
    assert kt.Phase("head", epochs=np.int64(3), learning_rate=np.float64(0.1)) == kt.Phase(
        "head", epochs=3, learning_rate=0.1
    )
    made = kt.Classifier("tiny", np.array(["a", "b"]), image_size=np.array([16, 16]), weights="none", seed=np.int64(3))
    assert (made.classes, made.metadata["image_size"], made.seed) == (("a", "b"), [16, 16], 3)
    assert kt.Classifier("tiny", ["a", "b"], image_size="96", weights="none").metadata["image_size"] == [96, 96]
    assert kt.data.arrays(X, Y, image_size=(np.int32(8), 9)).image_size == (8, 9)


def test_class_weights_by_name(data):
    from keras_transfer.training.build import class_weights

    assert class_weights(data.train, {"b": 2.0}).tolist() == [1, 2]
    assert class_weights(data.train, {"0": 3.0}).tolist() == [3, 1]  # a place, as in Keras, where no name is a number
    config = kt.load_config(data="photos", overrides=["data.class_weights={ants: 2.0}"])
    assert config.data.class_weights == {"ants": 2.0}
    assert kt.load_config(data="photos", overrides=["data.class_weights.ants=2"]).data.class_weights == {"ants": 2.0}


def test_none_is_none(data, classifier, monkeypatch):
    seen = []
    monkeypatch.setattr(
        PhaseRunner, "run", lambda runner: seen.append(runner.setup.train.loader._job.weights) or _stop(0)
    )
    for given in (None, "none", {"a": 1.0, "b": 1.0}, "balanced"):
        with pytest.raises(kt.UserError, match="far enough"):
            classifier.fit(data, [kt.Phase("head", epochs=1)], class_weights=given, callbacks=None, augment=None)
    assert seen[0] is None and seen[1] is None
    assert (seen[2] == 1).all()
