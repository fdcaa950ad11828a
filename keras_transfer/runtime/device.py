"""Where the backend computes."""

from __future__ import annotations

import os

from keras_transfer.errors import UserError, unknown
from keras_transfer.keras_compat import torch_device
from keras_transfer.options import DEVICES


def check_device(device: str, backend: str) -> None:
    """Raise UserError for an unknown device, or one that ``backend`` cannot use."""
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    if device == "mps" and backend != "torch":
        raise UserError(f"device 'mps' needs the torch backend, not {backend!r}")


def set_device_variables(backend: str, device: str) -> None:
    """Set the environment variables by which ``backend`` chooses its device; it reads them when it is imported."""
    if device == "auto":
        return
    if backend == "torch":
        os.environ["KERAS_TORCH_DEVICE"] = {"gpu": "cuda"}.get(device, device)
    elif device == "cpu" and backend == "jax":
        os.environ["JAX_PLATFORMS"] = "cpu"
    elif device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


def bind_local_gpu(backend: str, device: str) -> None:
    """Give each of several processes of a machine that torchrun started a GPU of its own; call it before Keras is imported.

    Raises:
        UserError: there are fewer GPUs than processes.
    """
    rank = os.environ.get("LOCAL_RANK", "")
    if backend != "torch" or device not in ("auto", "gpu") or not rank.isdecimal():
        return
    import torch

    if not torch.cuda.is_available():
        return
    if int(rank) >= torch.cuda.device_count():
        raise UserError(
            f"process {rank} of this machine has no GPU of its own ({torch.cuda.device_count()} there are): start one process for each, "
            "or set device: cpu"
        )
    torch.cuda.set_device(int(rank))
    os.environ["KERAS_TORCH_DEVICE"] = f"cuda:{rank}"


def device_in_use() -> str:
    """Return ``"cpu"``, ``"gpu"`` or ``"mps"``: where the running backend puts its tensors."""
    import keras

    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        kind = torch_device().split(":")[0]
        if kind == "cuda" and not torch.cuda.is_available():
            return "cpu"
        return {"cuda": "gpu"}.get(kind, kind)
    if backend == "tensorflow":
        import tensorflow as tf

        return "gpu" if tf.config.list_physical_devices("GPU") else "cpu"
    import jax

    return "cpu" if jax.default_backend() == "cpu" else "gpu"
