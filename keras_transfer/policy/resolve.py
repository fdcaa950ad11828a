"""Settings chosen from the data: every ``auto`` of a configuration gets its value here.

The rules were found by experiment on small image sets; ``docs/defaults.md`` has the figures behind them.
"""

from __future__ import annotations

from typing import Any

from keras_transfer.config.load import apply_override, validate
from keras_transfer.config.schema import Phase, RunConfig, settle_batch_norm
from keras_transfer.data.dataset import Dataset
from keras_transfer.data.statistics import DataStatistics, describe

UNBALANCED = 1.5  # largest class : smallest class, from where on the classes are weighted
SIZES = (224, 192, 160, 128)
FINE_RATES = {"efficientnet_lite0": 3.5e-4}  # MobileNetV2 forgets at 5e-4; others take the gentler one
BUDGET = 16_000  # images times epochs at the first of SIZES: about a quarter of an hour on two cores


def resolve(config: RunConfig, data: Dataset, probe: bool = True) -> tuple[RunConfig, list[str]]:
    """Replace every ``auto`` by a value chosen from the data.

    Args:
        config: as the user gave it.
        data: the opened data set.
        probe: whether the mirror probe (a minute of computing at most) may run; without it, colour images are
            taken to survive a horizontal flip and grey ones not to.

    Returns:
        The complete configuration, and a line for each choice with its reason.
    """
    statistics = describe(data)
    choices: list[str] = []
    tree: dict[str, Any] = config.model_dump()

    def choose(section: str, key: str, value: Any, why: str) -> None:
        if tree[section][key] == "auto":
            tree[section][key] = value
            choices.append(f"{section}.{key} = {_short(value)} ({why})")

    choose("data", "color", data.color, "grey images" if data.color == "grey" else "colour images")
    size, why = image_size(statistics, config.model.backbone)
    choose("data", "image_size", size, why)
    choose("data", "batch_size", *batch_size(statistics))
    choose("data", "class_weights", *class_weights(statistics))
    choose("data", "workers", *_workers())
    choose("data", "cache", "disk", "features of frozen layers serve later runs too")
    if tree["data"]["augment"] == "auto":
        choose("data", "augment", *augmentation(statistics, data, tree, probe))
    if tree["phases"] == "auto":
        tree["phases"] = [
            phase.model_dump() for phase in phases(statistics, config.model.backbone, config.model.weights)
        ]
        for keys, value in config._phase_overrides:
            apply_override(tree, keys, value)
        for phase in tree["phases"]:
            choices.append(
                f"phase {phase['name']}: up to {phase['epochs']} epochs, {phase['optimizer']}, "
                f"{phase['schedule']} from {phase['learning_rate']} ({statistics.n_train} training images)"
            )
    complete = validate(tree)
    complete.phases = settle_batch_norm(complete.phases, complete.model.weights)  # type: ignore[arg-type]
    return complete, choices


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(v["name"]) if isinstance(v, dict) else str(v) for v in value) or "none"
    return str(value)


def image_size(statistics: DataStatistics, backbone: str) -> tuple[int, str]:
    """Choose the input size from the images' own size, and from how much there is to compute."""
    from keras_transfer.models.backbones import get

    record = get(backbone)
    if statistics.median_side <= 16:
        wanted, why = 64, f"the images have about {statistics.median_side:g} pixels a side"
    elif statistics.is_grey and statistics.median_side <= 48:
        wanted, why = 96, f"grey images of about {statistics.median_side:g} pixels a side"
    else:
        wanted, why = _affordable(statistics, record.image_size)
    return max(record.min_size, min(record.image_size, wanted)), why


def _affordable(statistics: DataStatistics, largest: int) -> tuple[int, str]:
    """Return the largest usual size whose training stays within the budget: accuracy grows with it, even for small
    images, and the time with its square.
    """
    work = statistics.n_train * fine_tuning_epochs(statistics)
    budget = BUDGET if statistics.median_side > 48 else BUDGET / 2
    for size in SIZES:
        if size <= largest and work * (size / SIZES[0]) ** 2 <= budget:
            return size, f"the largest size that {statistics.n_train} training images leave time for"
    return SIZES[-1], f"{statistics.n_train} training images leave time for no larger size"


def batch_size(statistics: DataStatistics) -> tuple[int, str]:
    """Choose the batch size: small sets need the steps more than the speed."""
    return (16, "a small set") if statistics.n_train < 300 else (32, "the usual size")


def class_weights(statistics: DataStatistics) -> tuple[str, str]:
    """Weigh the classes when they are unbalanced, by the square root: the better of both accuracies."""
    if statistics.imbalance > UNBALANCED:
        return "sqrt", f"the largest class has {statistics.imbalance:.1f} times the images of the smallest"
    return "none", "the classes are balanced"


def _workers() -> tuple[int, str]:
    import os

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores)), f"{cores} cores"


def augmentation(statistics: DataStatistics, data: Dataset, tree: dict[str, Any], probe: bool) -> tuple[list[Any], str]:
    """Choose augmentations that keep the label: flips only where a mirrored image is still what it was."""
    mirrored, why = not statistics.is_grey, "grey images may be signs" if statistics.is_grey else "colour images"
    if probe and tree["model"]["weights"] != "none":  # random features tell nothing
        from keras_transfer.policy.mirror import feature_model, mirror_probe

        size, model = tree["data"]["image_size"], tree["model"]
        shape = (size, size) if isinstance(size, int) else tuple(size)
        features = feature_model(model["backbone"], model["weights"], shape, tree["data"]["color"], model["stem"])
        mirrored, why = mirror_probe(data, features, tree["data"]["resize"], tree["seed"])
    flip = ["horizontal_flip"] if mirrored else []
    if statistics.is_grey:
        moved = {"name": "affine", "degrees": 5, "translate": 0.05, "scale": [0.92, 1.08], "fill": "reflect"}
        return [*flip, moved], why
    crop = {"name": "random_resized_crop", "scale": [0.7, 1.0]}
    return [crop, *flip, {"name": "color_jitter", "brightness": 0.2, "contrast": 0.2, "saturation": 0.2}], why


def fine_tuning_epochs(statistics: DataStatistics) -> int:
    """Choose the epochs of the second phase: about as many steps for a small set as for a large one."""
    return max(8, min(25, round(8_000 / max(1, statistics.n_train))))


def phases(statistics: DataStatistics, backbone: str, weights: str) -> list[Phase]:
    """Choose the stages: the new head on features computed once, then everything, gently, with BatchNorm frozen.

    Random weights have nothing to keep: one phase trains everything.
    """
    epochs = fine_tuning_epochs(statistics)
    common: dict[str, Any] = {"optimizer": "adamw", "schedule": "cosine", "weight_decay": 1e-4}
    if weights == "none":
        return [Phase("all", epochs=2 * epochs, learning_rate=1e-3, warmup_epochs=1, **common)]
    return [
        Phase("head", epochs=10, learning_rate=3e-3, augment=False, **common),
        Phase(
            "all",
            epochs=epochs,
            learning_rate=FINE_RATES.get(backbone, 1.5e-4),
            warmup_epochs=0.1 * epochs,
            clip_norm=1.0,
            **common,
        ),
    ]
