"""Checks of `benchmarks/gpu.sh` that no command of the package makes: parity of GPU and CPU, running out of memory, a process
group; and its record.

python -m benchmarks.gpu parity --json parity.json
python -m benchmarks.gpu memory --json memory.json
torchrun --standalone --nproc-per-node 1 -m benchmarks.gpu group --json group.json
python -m benchmarks.gpu record results.jsonl STEP EXIT SECONDS [FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ON_CPU = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
LOGITS, LOSSES = 1e-4, 1e-3
"""Largest relative difference of logits, and absolute one of losses, between GPU and CPU in float32."""
STEPS, RATE, BATCH, SIZE = 3, 1e-3, 8, 96


def parity(options: argparse.Namespace) -> dict[str, Any]:
    """Compare logits and the losses of some training steps on the GPU with those on the CPU, on each backend."""
    import numpy as np

    found: dict[str, Any] = {"agree": True}
    with tempfile.TemporaryDirectory() as folder:
        for backend in options.backends.split(","):
            rows = []
            for place, more in (("device", {}), ("cpu", ON_CPU)):
                file = Path(folder) / f"{backend}-{place}.npz"
                command = [sys.executable, "-m", "benchmarks.gpu", "compute", "--backend", backend, "--json", str(file)]
                subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "KERAS_BACKEND": backend, **more})
                rows.append(dict(np.load(file)))
            there, here = rows
            logits = float(np.abs(there["logits"] - here["logits"]).max() / np.abs(here["logits"]).max())
            losses = float(np.abs(there["losses"] - here["losses"]).max())
            found[backend] = {"device": str(there["device"]), "logits_relative": logits, "losses_absolute": losses}
            found["agree"] &= logits <= LOGITS and losses <= LOSSES
    return found


def compute(backend: str, file: str) -> None:
    """Write logits and losses of EfficientNet-Lite0 with its ImageNet weights, native operations, to an ``.npz`` file."""
    from keras_transfer import runtime

    runtime.activate(backend)
    runtime.hide_progress_bars()
    import keras
    import numpy as np

    from keras_transfer.engine.native import install
    from keras_transfer.models.classifier import build_classifier
    from keras_transfer.models.freeze import apply_train
    from keras_transfer.models.precision import full_float32

    model = build_classifier("efficientnet_lite0", 10, SIZE, dropout=0.0)
    apply_train(model, "efficientnet_lite0", "all", batch_norm="frozen")
    install(model)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
    labels = np.eye(10, dtype=np.float32)[rng.integers(0, 10, BATCH)]
    with full_float32():
        logits = model.predict_on_batch(images)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(RATE), loss, jit_compile=False if backend == "torch" else "auto")
        losses = [float(np.asarray(model.train_on_batch(images, labels))) for _ in range(STEPS)]
    np.savez(file, logits=logits, losses=losses, device=runtime.device_in_use())


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Train with so little of the GPU's memory that the automatic batch does not fit; it must be computed in parts.

    On a CPU, whose memory cannot be limited, the run only has to finish.
    """
    from keras_transfer import runtime

    runtime.activate("torch")
    import torch

    from keras_transfer.config import load_config
    from keras_transfer.training.train import train

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(options.mebibytes * 2**20 / whole)
    size = 224 if on_gpu else 32
    changes = [
        "data.limit=200",
        "data.limit_test=20",
        f"data.image_size={size}",
        "data.batch_size=auto",
        "output.report=false",
        "phases=[{name: all, epochs: 1, learning_rate: 0.0001}]",
    ]
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        run = train(load_config("quickstart", changes, output=f"{folder}/run"), say=lines.append)
        config, metrics = run.read_resolved(), run.read_json(run.metrics)
    told = [line for line in lines if "out of memory" in line]
    return {
        "limited": on_gpu,
        "accumulate": config.data.accumulate,
        "told": told,
        "test_accuracy": metrics["test"]["accuracy"],
        "agree": not on_gpu or (bool(told) and config.data.accumulate > 1),
    }


def group(options: argparse.Namespace) -> dict[str, Any]:
    """Under torchrun: join the package's process group, and compare the gradients of a wrapped layer with those of a plain one."""
    from keras_transfer import runtime

    runtime.activate("torch")
    import torch
    import torch.distributed as dist

    from keras_transfer.distribute.place import place
    from keras_transfer.distribute.torch_group import TorchGroup

    here = place()
    if here is None:
        raise SystemExit("start it with torchrun")
    device = torch.device("cuda", here.local_rank) if torch.cuda.is_available() else torch.device("cpu")
    joined = TorchGroup(here, "gpu" if device.type == "cuda" else "cpu")
    torch.manual_seed(0)
    plain = torch.nn.Linear(64, 10).to(device)
    wrapped = torch.nn.parallel.DistributedDataParallel(plain)
    images = torch.randn(32, 64, device=device)
    gradients = []
    for module in (plain, wrapped):
        plain.zero_grad()
        module(images).square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in plain.parameters() if p.grad is not None]))
    total = torch.ones(4, device=device)
    dist.all_reduce(total)  # NCCL on a GPU
    difference = float((gradients[0] - gradients[1]).abs().max() / gradients[0].abs().max())
    found = {
        "processes": joined.size,
        "backend": dist.get_backend_config(),
        "gradients_relative": difference,
        "agree": difference <= 1e-6 and bool((total == here.size).all()),
    }
    joined.close()
    return found


def record(file: str, step: str, exit_status: int, seconds: float, result: str | None) -> None:
    """Append a line about a step; a result is a JSON file, or a run directory, whose figures are taken."""
    line: dict[str, Any] = {"step": step, "exit": exit_status, "seconds": round(seconds, 1)}
    path = Path(result) if result else None
    if path is not None and path.is_dir():
        path = path / "metrics.json"
        if path.is_file():
            metrics = json.loads(path.read_text("utf-8"))
            kept = ("n", "accuracy", "accuracy_ci95")
            line["result"] = {
                "test": {key: metrics["test"][key] for key in kept if key in metrics.get("test", {})},
                "best": metrics.get("best"),
                "phases": metrics.get("phases"),
                "seconds": metrics.get("seconds"),
            }
    elif path is not None and path.is_file():
        line["result"] = json.loads(path.read_text("utf-8"))
    with Path(file).open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("parity", "compute", "memory", "group", "record"))
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--json", metavar="FILE", default="/dev/stdout")
    parser.add_argument("--backends", default="torch,jax")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--mebibytes", type=int, default=1500, help="of GPU memory for `memory` (default: 1500)")
    options = parser.parse_args()
    if options.what == "record":
        file, step, exit_status, seconds, *result = options.rest
        record(file, step, int(exit_status), float(seconds), result[0] if result else None)
        return 0
    if options.what == "compute":
        compute(options.backend, options.json)
        return 0
    found = {"parity": parity, "memory": memory, "group": group}[options.what](options)
    Path(options.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if found["agree"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
