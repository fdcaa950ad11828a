"""Seeds, and bit-reproducible operations."""

from __future__ import annotations

import os

from keras_transfer.errors import UserError
from keras_transfer.runtime.device import device_in_use


def set_seed(seed: int) -> None:
    """Seed Python, NumPy, Keras and the running backend."""
    import keras

    keras.utils.set_random_seed(seed)


def set_variables(backend: str, keras_is_running: bool) -> None:
    """Set the environment variables that GPU libraries read once, on first use.

    Raises:
        UserError: JAX has already started on a GPU.
    """
    if backend == "torch":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # one of the two deterministic settings of cuBLAS
    flags = os.environ.get("XLA_FLAGS", "")
    if backend != "jax" or "xla_gpu_deterministic_ops" in flags:
        return
    if keras_is_running and device_in_use() != "cpu":
        raise UserError(
            "deterministic: true cannot take effect any more: JAX already uses the GPU in this process; "
            "call use_backend('jax', deterministic=True) first"
        )
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def forbid_nondeterministic_operations(backend: str) -> None:
    """Make the imported ``backend`` choose deterministic operations, or fail where it has none."""
    if backend == "torch":
        import torch

        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False  # it selects algorithms by timing, which varies between runs
    elif backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
