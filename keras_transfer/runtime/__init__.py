"""Backend, device and seed: everything that must be settled before Keras is imported.

Keras reads ``KERAS_BACKEND`` once, when it is imported, and some frameworks read their own variables just
as early. This module is the only one that writes environment variables, and it imports no framework itself.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from keras_transfer import keras_compat
from keras_transfer.errors import UserError, unknown

BACKENDS = ("torch", "tensorflow", "jax")
DEVICES = ("auto", "cpu", "gpu", "mps")


@dataclass(frozen=True)
class Choice:
    """A setting that was chosen, and why: what is printed and kept in the run's manifest."""

    value: str
    why: str

    def __str__(self) -> str:
        return f"{self.value} ({self.why})"


def installed_backends() -> list[str]:
    """Return the installed frameworks, in order of preference, without importing them."""
    return [name for name in BACKENDS if importlib.util.find_spec(name) is not None]


def choose_backend(argument: str | None = None, config: str | None = None) -> Choice:
    """Choose the Keras backend: argument > ``KERAS_BACKEND`` > configuration > first installed.

    Raises:
        UserError: the name is unknown, the framework is not installed, or Keras already runs on another one.
    """
    candidates = [
        (argument, "asked for by --backend"),
        (os.environ.get("KERAS_BACKEND"), "from KERAS_BACKEND"),
        (config, "from the configuration"),
    ]
    for name, why in candidates:
        if name and name != "auto":
            return Choice(_require_backend(name), why)
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


def use_backend(name: str = "auto", device: str = "auto", deterministic: bool = False) -> str:
    """Select the backend (and device) for this process; call it before anything imports Keras.

    Args:
        name: ``"torch"``, ``"tensorflow"``, ``"jax"`` or ``"auto"`` (``KERAS_BACKEND``, else the first installed).
        device: ``"auto"``, ``"cpu"``, ``"gpu"`` or ``"mps"``.
        deterministic: compute only by operations that give the same bits every time, for the life of the process.

    Returns:
        The name of the backend.

    Raises:
        UserError: unknown or missing backend or device, or Keras was already imported with another backend.
    """
    choice = choose_backend(None if name == "auto" else name)
    activate(choice.value, device, deterministic)
    return choice.value


def activate(backend: str, device: str = "auto", deterministic: bool = False) -> None:
    """Make ``backend``, ``device`` and determinism hold for this process and import Keras with them."""
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    if device == "mps" and backend != "torch":
        raise UserError(f"device 'mps' needs the torch backend, not {backend!r}")
    running = sys.modules.get("keras")
    if running is not None and running.backend.backend() != backend:
        raise UserError(
            f"Keras already runs on {running.backend.backend()!r} in this process and cannot change to {backend!r}; "
            "choose the backend before anything imports Keras"
        )
    if deterministic:
        _set_deterministic_environment(backend, begun=running is not None)
    if running is None:
        _set_environment(backend, device)
        importlib.import_module(backend)
        # One of Keras's callbacks imports JAX wherever it is installed, to mend an old version of it: a second for nothing.
        with _hidden("jax"):
            importlib.import_module("keras")
    import keras

    if backend != "tensorflow":
        _keep_tensorflow_out()
    # ~/.keras/keras.json may say otherwise; the package is written for these two.
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    if deterministic:
        _forbid_nondeterministic_operations(backend)
    if device in ("gpu", "mps") and device_in_use() != device:
        raise UserError(
            f"device {device!r} was asked for, but {backend} sees only {device_in_use()!r}; use device: auto or cpu"
        )


@contextlib.contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Let importing ``module`` fail inside the block, unless it is there already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # Python's own sign for "cannot be imported"
    try:
        yield
    finally:
        del sys.modules[module]


def _keep_tensorflow_out() -> None:
    """Let Keras see TensorFlow, on another backend, only if somebody has imported it.

    On every serialization Keras asks whether TensorFlow is available, to recognise its types, and finds out by
    importing it: seconds, hundreds of megabytes and a page of log lines, wherever both are installed.
    """
    keras_compat.keep_tensorflow_out()


def _set_environment(backend: str, device: str) -> None:
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up notes drown the program's own
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    if device == "auto":
        return
    if backend == "torch":
        os.environ["KERAS_TORCH_DEVICE"] = {"gpu": "cuda"}.get(device, device)
    elif device == "cpu" and backend == "jax":
        os.environ["JAX_PLATFORMS"] = "cpu"
    elif device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


def _set_deterministic_environment(backend: str, begun: bool) -> None:
    """Write what libraries read once, when they first use a GPU."""
    if backend == "torch":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # one of the two values that cuBLAS takes
    flags = os.environ.get("XLA_FLAGS", "")
    if backend != "jax" or "xla_gpu_deterministic_ops" in flags:
        return
    if begun and device_in_use() != "cpu":
        raise UserError(
            "deterministic: true comes too late for jax in this process, which has begun to use the GPU; "
            "call use_backend('jax', deterministic=True) first"
        )
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def _forbid_nondeterministic_operations(backend: str) -> None:
    if backend == "torch":
        import torch

        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False  # it picks an algorithm by its speed, which changes
    elif backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def device_in_use() -> str:
    """Return ``"cpu"``, ``"gpu"`` or ``"mps"``: where the running backend puts its tensors."""
    import keras

    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        kind = keras_compat.torch_device().split(":")[0]
        if kind == "cuda" and not torch.cuda.is_available():
            return "cpu"
        return {"cuda": "gpu"}.get(kind, kind)
    if backend == "tensorflow":
        import tensorflow as tf

        return "gpu" if tf.config.list_physical_devices("GPU") else "cpu"
    import jax

    return "cpu" if jax.default_backend() == "cpu" else "gpu"


def choose_precision(wanted: str, device: str, native: bool = True) -> Choice:
    """Choose the precision that a model is trained in: bfloat16 where that was measured to be faster, else float32.

    On processors that is so for our own operations on torch only: the CPU kernels of TensorFlow and XLA gain nothing from
    bfloat16, or lose up to a half (docs/results.md).

    Args:
        wanted: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        device: what :func:`device_in_use` says.
        native: whether layers compute by our own operations.
    """
    if wanted != "auto":
        return Choice(wanted, "from the configuration")
    if device == "gpu" and _gpu_has_bfloat16():
        return Choice("bfloat16", "the GPU computes it natively")
    if device != "cpu":
        return Choice("float32", f"the safe choice on {device}")
    if not _processor_flags() & _X86_BFLOAT16:
        return Choice("float32", "the processor has no instructions for bfloat16")
    import keras

    backend = keras.backend.backend()
    if backend != "torch" or not native:
        return Choice("float32", f"on a processor {backend if native else 'stock Keras'} is no faster in bfloat16")
    return Choice("bfloat16", "the processor computes it natively")


def choose_feature_precision(wanted: str, precision: str, computing: str, device: str) -> Choice:
    """Choose the precision of frozen features: bfloat16 where nobody asked for float32 and the processor computes it.

    Args:
        wanted: ``data.cache_precision``: ``auto``, ``float32`` or ``bfloat16``.
        precision: the ``precision`` that was asked for.
        computing: the precision that was chosen for the rest of the model.
        device: what :func:`device_in_use` says.
    """
    if wanted != "auto":
        return Choice(wanted, "from the configuration")
    if "bfloat16" in (precision, computing):
        return Choice("bfloat16", "the precision of the run")
    if precision != "auto":
        return Choice("float32", f"precision {precision} was asked for")
    if device == "cpu" and importlib.util.find_spec("openvino") is not None and _processor_has_bfloat16():
        return Choice("bfloat16", "the processor computes it natively; the head stays float32")
    return Choice("float32", f"the safe choice on {device}")


_X86_BFLOAT16 = {"avx512_bf16", "amx_bf16"}


def _processor_has_bfloat16() -> bool:
    """Say whether the processor has instructions for bfloat16; where that cannot be read, it has none.

    OpenVINO's own list of capabilities names bfloat16 also for processors on which it is emulated.
    """
    return bool(_processor_flags() & {*_X86_BFLOAT16, "bf16", "svebf16"})


def _processor_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    lines = [line for line in text.splitlines() if line.startswith(("flags", "Features"))]
    return set(lines[0].partition(":")[2].split()) if lines else set()


def cache_dir() -> Path:
    """Return the folder for what can be computed again: ``KERAS_TRANSFER_CACHE``, else the user's cache folder."""
    if os.environ.get("KERAS_TRANSFER_CACHE"):
        return Path(os.environ["KERAS_TRANSFER_CACHE"])
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "keras_transfer"
    return Path.home() / ".cache" / "keras_transfer"


def _gpu_has_bfloat16() -> bool:
    import keras

    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.get_device_capability()[0] >= 8  # Ampere
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        return details.get("compute_capability", (0, 0))[0] >= 8
    import jax

    return float(getattr(jax.devices()[0], "compute_capability", "0") or 0) >= 8


def set_seed(seed: int) -> None:
    """Seed Python, NumPy, Keras and the running backend."""
    import keras

    keras.utils.set_random_seed(seed)


def hide_progress_bars() -> None:
    """Keep Keras's own progress bars off standard output, which belongs to results."""
    import keras

    keras.utils.disable_interactive_logging()


def give_up_sooner() -> None:
    """Have MLflow give up on a server that does not answer after seconds; by itself it tries for five minutes, silently."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")


def child_environment(backend: str) -> dict[str, str]:
    """Return the environment for a child process that runs on ``backend``."""
    return {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result, those installed only."""
    found = {"python": platform.python_version()}
    for package in ("keras_transfer", "keras", "torch", "tensorflow", "jax", "keras-hub", "numpy", "openvino",
                    "opencv-python-headless", "pillow"):  # fmt: skip
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, str | int]:
    """Return what the program runs on: processor, cores and operating system."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 (a pseudo-file)
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        processor = names[0] if names else processor
    except OSError:
        pass
    return {"processor": processor, "cores": os.cpu_count() or 1, "system": platform.platform()}
