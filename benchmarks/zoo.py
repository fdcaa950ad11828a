"""The zoo: training steps and prediction of each network of the tutorials; images per second.

All weights are random and train with AdamW on the same uint8 batch in memory. Networks of keras-hub are built without
pretrained weights, so that nothing is downloaded.

    python scripts/benchmark.py zoo --json zoo.json      # measures
    python -m benchmarks.zoo zoo.json docs/zoo.md        # writes the table into the page, of one file or several
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contenders import BATCH, SIZE, keras_classifier, pixels
from benchmarks.harness import Case, Options, Rival
from keras_transfer.files import atomic_write
from keras_transfer.models.backbones import BACKBONES
from keras_transfer.runtime import BACKENDS

TABLE = (
    *("alexnet", "vgg16", "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    *("efficientnet_lite0", "efficientnet_b0", "densenet121", "inception_resnet_v2"),
)
_SMALL: dict[str, Any] = {"patch_size": 16, "hidden_dim": 384, "num_layers": 12, "num_heads": 6}
# name → prefix of keras-hub's classes, arguments of the backbone, a preset with ImageNet (or other) weights, licence, paper
HUB: dict[str, tuple[str, dict[str, Any], str, str, str]] = {
    "ViT-B/16": (
        "ViT",
        {"patch_size": 16, "hidden_dim": 768, "num_layers": 12, "num_heads": 12, "mlp_dim": 3072},
        "vit_base_patch16_224_imagenet",
        "Apache-2.0",
        "Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929",
    ),
    "DeiT-S/16": (
        "DeiT",
        {**_SMALL, "intermediate_dim": 1536},
        "deit_small_distilled_patch16_224_imagenet",
        "Apache-2.0",
        "Touvron et al. 2020, https://arxiv.org/abs/2012.12877",
    ),
    "Swin-T": (
        "SwinTransformer",
        {
            "embed_dim": 96,
            "depths": (2, 2, 6, 2),
            "num_heads": (3, 6, 12, 24),
            "window_size": 7,
        },
        "swin_tiny_224",
        "MIT",
        "Liu et al. 2021, https://arxiv.org/abs/2103.14030",
    ),
    "DINOv2-S/14": (
        "DINOV2",
        {**_SMALL, "patch_size": 14, "intermediate_dim": 1536, "position_embedding_shape": (518, 518, 3)},
        "dinov2_small",
        "Apache-2.0",
        "Oquab et al. 2023, https://arxiv.org/abs/2304.07193; trained without labels",
    ),
}


def cases(options: Options) -> list[Case]:
    backend = options.choose("backends", BACKENDS)[0]
    size, batch = options.size or SIZE, options.batch or BATCH
    return [
        Case(
            f"{name}, {size} px, batch {batch}, {backend}",
            "images/s in training",
            (
                Rival(
                    name,
                    f"{__name__}:measured",
                    {"model": name, "batch": batch, "size": size, "backend": backend},
                    {"KERAS_BACKEND": backend},
                ),
            ),
            rounds=1,
        )
        for name in options.choose("models", (*TABLE, *HUB))
    ]


def measured(model: str, batch: int, size: int, backend: str) -> Callable[[], dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        name = model if model in BACKBONES else preset(model, Path(folder), size, backend)
        classifier = keras_classifier(name, size, "float32", backend, ours=True)
    from keras_transfer.config.schema import Phase
    from keras_transfer.training.optimizer import compile_phase
    from keras_transfer.training.setup import TrainingSettings

    compile_phase(
        classifier, Phase(name="all", epochs=1, learning_rate=1e-4, train="all"), 100, TrainingSettings(model, ())
    )
    images, labels = pixels(batch, size)

    def measure() -> dict[str, float]:
        parameters = classifier.count_params()
        return {
            "value": batch / _seconds(lambda: classifier.train_on_batch(images, labels)),
            "prediction images/s": batch / _seconds(lambda: classifier.predict_on_batch(images)),
            "parameters": parameters,
            "MB": parameters * 4 / 1e6,
        }

    return measure


def _seconds(step: Callable[[], object], budget: float = 2.0) -> float:
    """Return the mean seconds of a step, over about `budget` seconds, after two warm-up steps."""
    step()
    step()
    began, count = time.perf_counter(), 0
    while not count or time.perf_counter() - began < budget:
        step()
        count += 1
    return (time.perf_counter() - began) / count


def preset(model: str, folder: Path, size: int, backend: str) -> str:
    """Write a network of keras-hub with random weights as a preset folder; return its backbone name."""
    from keras_transfer import runtime

    runtime.activate(backend)
    from keras_transfer.models.backbones.hub import _keras_hub

    hub = _keras_hub()
    kind, arguments, *_ = HUB[model]
    getattr(hub.models, f"{kind}Backbone")(**{**arguments, "image_shape": (size, size, 3)}).save_to_preset(str(folder))
    converter = getattr(hub.layers, f"{kind}ImageConverter")(image_size=(size, size), scale=1 / 127.5, offset=-1.0)
    converter.save_to_preset(str(folder))
    return f"hub:{folder}"


def page_table(cases: list[dict[str, Any]]) -> str:
    """Return the table of the page, from cases that `--json` wrote."""
    lines = [
        "| network | `model.backbone` | parameters, M | MB | training, images/s | prediction, images/s | weights | licence |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        (rival,) = case["rivals"]
        figures = rival.get("figures", {})
        shown = (
            [
                f"{figures['parameters'] / 1e6:.1f}",
                f"{figures['MB']:.0f}",
                f"{rival['median']:.1f}",
                f"{figures['prediction images/s']:.1f}",
            ]
            if rival["status"] == "ok"
            else [rival["status"], *3 * ["–"]]
        )
        lines.append(f"| {' | '.join([*_names(rival['name']), *shown, *_origin(rival['name'])])} |")
    return "\n".join(lines)


def _names(name: str) -> list[str]:
    if name in BACKBONES:
        return [BACKBONES[name].family, f"`{name}`"]
    return [name, f"`hub:{HUB[name][2]}`"]


def _origin(name: str) -> list[str]:
    if name in BACKBONES:
        record = BACKBONES[name]
        return [record.source.partition("; weights: ")[2].partition(" (")[0] or "–", record.licence]
    return ["keras-hub", HUB[name][3]]


def write_page(json_files: list[Path], page: Path) -> None:
    """Put the table of all cases in `json_files` between the marks in `page`."""
    begin, end = "<!-- table: begin -->\n", "<!-- table: end -->"
    before, _, rest = page.read_text("utf-8").partition(begin)
    after = rest.partition(end)[2]
    table = page_table([case for file in json_files for case in json.loads(file.read_text("utf-8"))["cases"]])
    with atomic_write(page) as file:
        file.write(f"{before}{begin}{table}\n{end}{after}".encode())


if __name__ == "__main__":
    *measurements, target = map(Path, sys.argv[1:])
    write_page(measurements, target)
