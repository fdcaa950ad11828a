"""Choose how a training is distributed, and join the other processes."""

from __future__ import annotations

from keras_transfer.distribute.group import ALONE, Group
from keras_transfer.distribute.place import Place, place
from keras_transfer.errors import UserError


def start(wanted: str, backend: str, device: str) -> Group:
    """Return the group of this process, connected with the others; the backend has been started.

    Args:
        wanted: ``"none"``, ``"data_parallel"``, or ``"auto"``: what the launcher or the number of devices says.
        backend: name of the running backend.
        device: ``"cpu"``, ``"gpu"`` or ``"mps"``: where it computes.

    Raises:
        UserError: what was asked for does not fit how the process was started, or the backend cannot do it.
    """
    here = place()
    if here is not None and here.size > 1:
        _check_processes(wanted, backend, here)
    if wanted == "none":
        return ALONE
    if backend == "torch":
        return _on_torch(wanted, device, here)
    if backend == "jax":
        return _on_jax(wanted, here)
    return _on_tensorflow(wanted)


def idle_gpus(backend: str, device: str, group: Group) -> str:
    """Return a line about GPUs that a process alone leaves idle; empty: there are none."""
    if backend != "torch" or device != "gpu" or group.divides or place() is not None:
        return ""
    import torch

    count = torch.cuda.device_count()
    return f"1 of {count} GPUs is used; all of them: --processes {count}" if count > 1 else ""


def _check_processes(wanted: str, backend: str, here: Place) -> None:
    if wanted == "none":
        raise UserError(
            f"distribute: none, but this is process {here.rank} of {here.size} ({here.launcher}): start one process, "
            "or set distribute to data_parallel"
        )
    if backend == "tensorflow":
        raise UserError(
            f"this is process {here.rank} of {here.size} ({here.launcher}), but tensorflow trains in one process: use backend: torch or jax for "
            "several processes or machines, or start one process, which uses all devices of a machine"
        )


def _on_torch(wanted: str, device: str, here: Place | None) -> Group:
    if here is None:
        if wanted == "auto":
            return ALONE
        raise UserError(
            "distribute: data_parallel on torch takes a process for every device: add --processes N to keras-transfer train, "
            "start it with torchrun --nproc-per-node N -m keras_transfer train, or set distribute to none"
        )
    if here.size == 1:
        kind = "data_parallel" if wanted == "data_parallel" else "none"
        return Group(kind, f"the only process of {here.launcher}")
    if device == "mps":
        raise UserError("distribute: data_parallel on torch needs device cpu or gpu, received mps: set device to cpu")
    from keras_transfer.distribute.torch_group import TorchGroup

    return TorchGroup(here, device)


def _on_jax(wanted: str, here: Place | None) -> Group:
    import jax

    if here is not None and here.size > 1:
        from keras_transfer.distribute.jax_group import JaxGroup

        return JaxGroup(here)
    count = jax.device_count()
    if count == 1:
        return Group(wanted, "one device") if wanted == "data_parallel" else ALONE
    return Group("data_parallel", f"{count} devices of jax", parts=count)


def _on_tensorflow(wanted: str) -> Group:
    from keras_transfer.distribute.tensorflow_group import TensorFlowGroup, devices

    found = devices()
    if len(found) == 1:
        return Group(wanted, "one device") if wanted == "data_parallel" else ALONE
    return TensorFlowGroup(found)
