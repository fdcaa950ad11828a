"""Choosing the backend, and what importing the package must not do."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from keras_transfer import runtime
from keras_transfer.errors import UserError
from tests.conftest import ROOT

HEAVY = ("keras", "torch", "tensorflow", "jax", "cv2", "matplotlib", "sklearn")


def imported_by(code: str) -> list[str]:
    program = f"{code}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return eval(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "code",
    [
        "import keras_transfer",
        "import keras_transfer as kt; kt.Phase; kt.UserError; kt.load_config",
        "import keras_transfer.data",
        "from keras_transfer.cli import build_parser; build_parser()",
    ],
)
def test_importing_the_package_imports_no_framework(code):
    assert imported_by(code) == []


def test_the_order_of_precedence(monkeypatch):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setattr(runtime.backend, "installed_backends", lambda: ["torch", "tensorflow", "jax"])
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert runtime.choose_backend("tensorflow", "torch").value == "tensorflow"
    assert runtime.choose_backend(None, "torch").value == "jax"
    monkeypatch.delenv("KERAS_BACKEND")
    assert runtime.choose_backend(None, "torch").value == "torch"
    assert runtime.choose_backend(None, "auto") == runtime.Choice(
        "torch", "the first installed of torch, tensorflow, jax"
    )


def test_keras_that_runs_already_is_used_as_it_is(monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(runtime.backend, "installed_backends", lambda: ["torch", "tensorflow", "jax"])
    running = SimpleNamespace(backend=SimpleNamespace(backend=lambda: "jax"))
    monkeypatch.setitem(sys.modules, "keras", running)
    assert runtime.choose_backend().value == "jax"
    assert runtime.choose_backend("torch").value == "torch"


def test_a_backend_that_is_unknown_or_missing(monkeypatch):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    with pytest.raises(UserError, match="did you mean 'tensorflow'"):
        runtime.choose_backend("tensorflw")
    monkeypatch.setattr(runtime.backend, "installed_backends", lambda: ["torch"])
    with pytest.raises(UserError, match=r'pip install "keras_transfer\[jax\]"'):
        runtime.choose_backend("jax")
    monkeypatch.setattr(runtime.backend, "installed_backends", lambda: [])
    with pytest.raises(UserError, match="no backend is installed"):
        runtime.choose_backend()


@pytest.mark.backend
class TestRunning:
    def test_the_backend_cannot_change_once_keras_runs(self, backend):
        other = next(name for name in runtime.BACKENDS if name != backend)
        with pytest.raises(UserError, match="already runs on"):
            runtime.activate(other)

    def test_device(self, backend):
        assert runtime.device_in_use() in ("cpu", "gpu", "mps")
        with pytest.raises(UserError, match="unknown device"):
            runtime.activate(backend, "tpu")
        if backend != "torch":
            with pytest.raises(UserError, match="needs the torch backend"):
                runtime.activate(backend, "mps")
        if runtime.device_in_use() == "cpu":
            with pytest.raises(UserError, match="sees only 'cpu'"):
                runtime.activate(backend, "gpu")

    @pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16", "avx2"])
    def test_precision(self, backend, flag, monkeypatch):
        monkeypatch.setattr(runtime.precision, "processor_flags", lambda: {"sse2", flag})
        assert runtime.choose_precision("float32", "cpu").value == "float32"
        assert runtime.choose_precision("bfloat16", "cpu").value == "bfloat16"
        faster = backend == "torch" and flag != "avx2"
        chosen = runtime.choose_precision("auto", "cpu")
        assert chosen.value == ("bfloat16" if faster else "float32")
        assert chosen.why
        assert runtime.choose_precision("auto", "cpu", native=False).value == "float32"

    def test_channels_last_whatever_keras_json_says(self, backend, tmp_path):
        (tmp_path / "keras.json").write_text('{"image_data_format": "channels_first", "floatx": "float16"}')
        code = (
            "from keras_transfer.runtime import use_backend; use_backend()\n"
            "import keras; print(keras.config.image_data_format(), keras.config.floatx())"
        )
        environment = {**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": backend}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        assert done.stdout.split() == ["channels_last", "float32"]


WRITING = {"setdefault", "update", "pop", "popitem", "clear", "__setitem__", "__delitem__"}


def environment_writes(tree: ast.AST) -> list[int]:
    """Lines that change ``os.environ``, under whatever name it was imported."""

    def is_environ(node: ast.AST) -> bool:
        return "environ" in (getattr(node, "attr", None), getattr(node, "id", None))

    lines = []
    for node in ast.walk(tree):
        stored = isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del))
        item = isinstance(node, ast.Subscript) and is_environ(node.value)
        method = isinstance(node, ast.Attribute) and node.attr in WRITING and is_environ(node.value)
        named = {getattr(node, "attr", None), getattr(node, "id", None)} & {"putenv", "unsetenv"}
        if (stored and (item or is_environ(node))) or method or named:
            lines.append(node.lineno)
    return lines


def test_only_the_runtime_package_writes_environment_variables():
    package = ROOT / "keras_transfer"
    writers = {
        file.relative_to(package).parts[0]
        for file in package.rglob("*.py")
        if environment_writes(ast.parse(file.read_text("utf-8")))
    }
    assert writers == {"runtime"}


@pytest.mark.parametrize(
    ("code", "writes"),
    [
        ("os.environ['A'] = '1'", True),
        ("del os.environ['A']", True),
        ("os.environ |= {}", True),
        ("environ.update(A='1')", True),
        ("os.putenv('A', '1')", True),
        ("{**os.environ, 'A': os.environ['A'], 'B': os.environ.get('B')}", False),
    ],
)
def test_what_counts_as_writing(code, writes):
    assert bool(environment_writes(ast.parse(code))) == writes


def test_versions_and_hardware_name_what_runs():
    assert "keras" in runtime.versions()
    assert runtime.hardware()["cores"] >= 1


@pytest.mark.backend
def test_keras_starts_without_the_frameworks_that_it_does_not_need(backend):
    code = f"from keras_transfer.runtime import use_backend; use_backend({backend!r})"
    others = {"torch", "tensorflow", "jax"} - {backend}
    if backend == "tensorflow":  # which imports JAX itself
        others.remove("jax")
    assert others.isdisjoint(imported_by(code))
    pytest.importorskip("jax")
    assert "jax" in imported_by(f"{code}\nimport jax")


class TestFeaturePrecision:
    @pytest.fixture(params=[True, False])
    def hardware(self, request, monkeypatch):
        monkeypatch.setattr(runtime.precision, "processor_has_bfloat16", lambda: request.param)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
        return request.param

    @pytest.mark.parametrize(
        ("wanted", "precision", "computing", "expected"),
        [
            ("float32", "bfloat16", "bfloat16", "float32"),
            ("bfloat16", "float32", "float32", "bfloat16"),
            ("auto", "float32", "float32", "float32"),
            ("auto", "float16", "float16", "float32"),
            ("auto", "bfloat16", "bfloat16", "bfloat16"),
            ("auto", "auto", "bfloat16", "bfloat16"),
        ],
    )
    def test_what_was_asked_for_holds_on_any_processor(self, hardware, wanted, precision, computing, expected):
        assert runtime.choose_feature_precision(wanted, precision, computing, "cpu").value == expected

    def test_auto_is_decided_by_the_processor_and_by_what_is_installed(self, hardware, monkeypatch):
        best = "bfloat16" if hardware else "float32"
        assert runtime.choose_feature_precision("auto", "auto", "float32", "cpu").value == best
        assert runtime.choose_feature_precision("auto", "auto", "float32", "gpu").value == "float32"
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert runtime.choose_feature_precision("auto", "auto", "float32", "cpu").value == "float32"


def test_the_cache_folder_follows_its_variables(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert runtime.cache_dir() == tmp_path
    monkeypatch.delenv("KERAS_TRANSFER_CACHE")
    assert runtime.cache_dir() == tmp_path / "xdg" / "keras_transfer"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert runtime.cache_dir().parts[-2:] == (".cache", "keras_transfer")


def test_cycles_are_searched_for_again_after_the_imports():
    import gc

    with runtime.backend._without_collections():
        assert not gc.isenabled()
        with runtime.backend._without_collections():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


@pytest.mark.slow
@pytest.mark.skipif("tensorflow" not in runtime.installed_backends(), reason="TensorFlow's notes")
def test_tensorflow_starts_without_the_notes_of_its_libraries():
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    program = "import keras_transfer as kt; kt.use_backend('tensorflow'); import keras; print(float(keras.ops.sum([1.0, 2.0])))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "3.0\n"
    assert "InitializeLog" not in done.stderr and "oneDNN custom operations" not in done.stderr
