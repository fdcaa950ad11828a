"""The machine and its installation: versions, hardware, cache folder, environment of child processes."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_PACKAGES = ("keras_transfer", "keras", "torch", "tensorflow", "jax", "keras-hub", "numpy", "openvino",
             "opencv-python-headless", "pillow")  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that affect results."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, str | int]:
    """Return the processor's name, its number of cores and the operating system."""
    processor = _cpuinfo("model name") or platform.processor() or platform.machine()
    return {"processor": processor, "cores": os.cpu_count() or 1, "system": platform.platform()}


def processor_flags() -> set[str]:
    """Return the instruction-set extensions of the CPU as Linux names them; empty on other systems."""
    return set((_cpuinfo("flags") or _cpuinfo("Features")).split())


def _cpuinfo(field: str) -> str:
    """Return the first value of a field of ``/proc/cpuinfo``, or an empty string."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def meminfo(field: str) -> int | None:
    """Return a field of ``/proc/meminfo`` in bytes; None on other systems."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)


def cache_dir() -> Path:
    """Return the folder for recomputable files: ``KERAS_TRANSFER_CACHE``, else one in the user's cache folder."""
    if own := os.environ.get("KERAS_TRANSFER_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras_transfer"


def child_environment(backend: str) -> dict[str, str]:
    """Return the environment for a child process that runs on ``backend``."""
    return {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}


def limit_mlflow_retries() -> None:
    """Let MLflow give up on an unreachable server within seconds; by default it retries silently for five minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")


def keep_ray_silent() -> None:
    """Have Ray send no statistics of its use, unless the user has said otherwise."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
