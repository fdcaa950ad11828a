"""Join the other processes of a training on jax, which has to happen before jax looks for its devices."""

from __future__ import annotations

import os
import socket
import time

from keras_transfer.distribute.place import Place, place
from keras_transfer.errors import UserError

ADDRESS = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
"""Keras's variable for the address of process 0, ``HOST:PORT``; what follows a comma is not needed."""
WAIT = 300
"""Seconds in which all processes must have started."""


def connect(backend: str, wanted: str) -> None:
    """Start ``jax.distributed`` if this is one of several processes on jax that train together; else do nothing.

    The connection with process 0 is jax's own. A process that ends does not take the others with it (``jax_enable_recoverability``), so
    that they can say which it was; and SIGTERM stays ours.

    Args:
        backend: name of the backend, which has been imported and has not computed anything yet.
        wanted: ``distribute`` of the configuration.

    Raises:
        UserError: the address of process 0 is not known or does not answer, or jax has already started.
    """
    here = place()
    if backend != "jax" or here is None or here.size == 1 or wanted == "none":
        return
    import jax

    if jax.distributed.is_initialized():
        return
    address = coordinator(here)
    _check(address, here)  # jax would abort the process
    settings = {
        "jax_enable_recoverability": True,
        "jax_enable_preemption_service": False,
        "jax_cpu_collectives_implementation": "gloo",
    }
    for name, value in settings.items():
        if hasattr(jax.config, name):
            jax.config.update(name, value)
    try:
        jax.distributed.initialize(
            address,
            here.size,
            here.rank,
            # Several processes of a machine have a GPU each; one alone has all of them.
            local_device_ids=here.local_rank if here.local_size > 1 else None,
            cluster_detection_method="deactivate",
            initialization_timeout=WAIT,
        )
    except RuntimeError as error:
        said = str(error).strip().splitlines()[0]
        raise UserError(f"process {here.rank} of {here.size} cannot join process 0 at {address}: {said}") from error


def _check(address: str, here: Place) -> None:
    """Wait until process 0 listens at the address; in process 0, find out whether it can.

    Raises:
        UserError: it does not, or cannot.
    """
    host, _, port = address.rpartition(":")
    if here.is_main:
        try:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("", int(port)))
        except (OSError, OverflowError) as error:
            raise UserError(
                f"process 0 cannot wait at port {port} for the others ({error}): name another one in {ADDRESS}"
            ) from None
        return
    end = time.monotonic() + WAIT
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except (OSError, OverflowError) as error:
            if time.monotonic() > end:
                raise UserError(
                    f"process {here.rank} of {here.size} waited {WAIT} s for process 0 at {address} ({error}): start all processes, or set "
                    f"{ADDRESS} to where process 0 is"
                ) from None
            time.sleep(0.2)


def coordinator(here: Place) -> str:
    """Return the address at which process 0 waits for the others, ``HOST:PORT``.

    Raises:
        UserError: no variable tells it, or it is no address.
    """
    given = os.environ.get(ADDRESS, "").split(",")[0].strip()
    if given:
        host, _, port = given.rpartition(":")
        if not host or not port.isdecimal():
            raise UserError(f"the environment variable {ADDRESS} must be HOST:PORT of process 0, received {given!r}")
        return given
    host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    if here.launcher == "torchrun" and host and port.isdecimal():
        return f"{host}:{int(port) + 1}"  # the port itself is torchrun's
    raise UserError(
        f"this is process {here.rank} of {here.size} ({here.launcher}), but nothing says where process 0 is: set {ADDRESS} to its HOST:PORT"
    )
