"""Choose the Keras backend and import Keras with it."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from keras_transfer.arguments import checked
from keras_transfer.arguments.types import Backend, Device, Switch
from keras_transfer.errors import UserError, unknown
from keras_transfer.keras_compat import keep_tensorflow_out
from keras_transfer.keras_compat.dynamo import dynamo_later
from keras_transfer.options import BACKENDS
from keras_transfer.runtime import determinism
from keras_transfer.runtime.choice import Choice
from keras_transfer.runtime.compiled import keep_compiled
from keras_transfer.runtime.device import bind_local_gpu, check_device, device_in_use, set_device_variables
from keras_transfer.runtime.quiet import LEVEL, quiet_start
from keras_transfer.runtime.resources import limit_threads, set_thread_variables


def installed_backends() -> list[str]:
    """Return the installed frameworks in order of preference, without importing them."""
    return [name for name in BACKENDS if importlib.util.find_spec(name) is not None]


def choose_backend(argument: str | None = None, config: str | None = None) -> Choice:
    """Choose the Keras backend: argument > ``KERAS_BACKEND`` > configuration > the one Keras already runs on > first installed.

    Raises:
        UserError: the name is unknown, or the framework is not installed.
    """
    candidates = [
        (argument, "requested by --backend"),
        (None if is_provisional() else os.environ.get("KERAS_BACKEND"), "from KERAS_BACKEND"),
        (config, "from the configuration"),
    ]
    for name, why in candidates:
        if name and name != "auto":
            return Choice(_require_backend(name), why)
    running = sys.modules.get("keras")
    if running is not None and hasattr(running, "backend"):
        return Choice(_require_backend(running.backend.backend()), "Keras already runs on it")
    available = installed_backends()
    if not available:
        raise UserError(
            'no backend is installed; install one with: pip install "keras_transfer[torch]" (or tensorflow, jax)'
        )
    return Choice(available[0], "the first installed of torch, tensorflow, jax")


def _require_backend(name: str) -> str:
    if name not in BACKENDS:
        raise unknown("backend", name, ("auto", *BACKENDS))
    if name not in installed_backends():
        raise UserError(
            f'the backend {name!r} is not installed; install it with: pip install "keras_transfer[{name}]"'
            f" (installed: {', '.join(installed_backends()) or 'none'})"
        )
    return name


@checked
def use_backend(name: Backend = "auto", device: Device = "auto", deterministic: Switch = False) -> str:
    """Select the backend and device for this process; call it before anything imports Keras.

    Args:
        name: ``"torch"``, ``"tensorflow"``, ``"jax"`` or ``"auto"``: ``KERAS_BACKEND``, else what Keras already runs on, else the first
            installed.
        device: ``"auto"``, ``"cpu"``, ``"gpu"`` or ``"mps"``.
        deterministic: allow only bit-reproducible operations, for the life of the process.

    Returns:
        The name of the backend.

    Raises:
        UserError: unknown or missing backend or device, or Keras was already imported with another backend.

    Examples:
        >>> kt.use_backend() in ("torch", "tensorflow", "jax")
        True
    """
    choice = choose_backend(None if name == "auto" else name)
    activate(choice.value, device, deterministic)
    return choice.value


def activate(
    backend: str, device: str = "auto", deterministic: bool = False, connect: Callable[[], None] = lambda: None
) -> None:
    """Import Keras with ``backend``, ``device`` and determinism set for this process.

    ``connect`` is called when both are imported, before anything looks for devices.

    Raises:
        UserError: unknown or unavailable device, or Keras was already imported with another backend.
    """
    check_device(device, backend)
    running = sys.modules.get("keras")
    if running is not None and running.backend.backend() != backend:
        raise UserError(
            f"Keras already runs on {running.backend.backend()!r} in this process and cannot change to {backend!r}; "
            "choose the backend before anything imports Keras"
        )
    if deterministic:
        determinism.set_variables(backend, keras_is_running=running is not None)
    if running is None:
        _set_variables(backend)
        set_device_variables(backend, device)
        set_thread_variables(backend)
        if backend == "jax":
            keep_compiled()
        with quiet_start(backend):
            _import(backend, device)
    import keras

    if backend != "tensorflow":
        keep_tensorflow_out()
    # The package requires these two; ~/.keras/keras.json may set others.
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    if deterministic:
        determinism.forbid_nondeterministic_operations(backend)
    connect()
    if device in ("gpu", "mps") and device_in_use() != device:
        raise UserError(
            f"device {device!r} was requested, but {backend} sees only {device_in_use()!r}; use device: auto or cpu"
        )


def _import(backend: str, device: str) -> None:
    with _without_collections():
        importlib.import_module(backend)
    limit_threads(backend)
    bind_local_gpu(backend, device)
    # keras.callbacks imports JAX, if installed, to patch an old version of it: a second of start-up for nothing.
    with _without_collections(), _hidden("jax"), dynamo_later() if backend == "torch" else contextlib.nullcontext():
        importlib.import_module("keras")
    if backend == "tensorflow":
        device_in_use()  # the first look at the devices logs as much as the import


def set_provisional() -> None:
    """Have a plain ``import keras`` find a framework where TensorFlow, Keras's own default, is not installed.

    Nothing changes where the user chose a backend that is installed, by ``KERAS_BACKEND`` or ``keras.json``, or where Keras is imported
    already. Keras writes ``tensorflow`` into that file by itself, whatever is installed: alone, the file is no choice.
    """
    if "KERAS_BACKEND" in os.environ or "keras" in sys.modules:
        return
    available = installed_backends()
    if available and "tensorflow" not in available and _in_keras_json() not in available:
        os.environ["KERAS_BACKEND"] = available[0]
        _provisional.append(available[0])


def _in_keras_json() -> str | None:
    """Return the backend that Keras's configuration file names."""
    home = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser())
    try:
        found = json.loads((home / "keras.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    named = found.get("backend") if isinstance(found, dict) else None
    return named if isinstance(named, str) else None


_provisional: list[str] = []


def is_provisional() -> bool:
    """Return whether ``KERAS_BACKEND`` is what :func:`set_provisional` made it, and nobody's choice."""
    return bool(_provisional) and os.environ.get("KERAS_BACKEND") == _provisional[0]


def _set_variables(backend: str) -> None:
    _provisional.clear()
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault(LEVEL, "2")  # hide TensorFlow's start-up log
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Pause Python's search for cycles: importing makes hundreds of thousands of objects that all stay, and is a sixth faster without it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextlib.contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Make importing ``module`` fail inside the block, unless it is already imported."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # Python's marker for "cannot be imported"
    try:
        yield
    finally:
        del sys.modules[module]


def hide_progress_bars() -> None:
    """Keep Keras's progress bars off standard output, which is reserved for results."""
    import keras

    keras.utils.disable_interactive_logging()
