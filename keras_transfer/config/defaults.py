"""Settings chosen from the data: every ``auto`` of a configuration gets its value here.

The rules were found by experiment on small picture sets; ``docs/defaults.md`` has the figures behind them.
"""

from __future__ import annotations

from typing import Any

from keras_transfer.config.load import apply_override, validate
from keras_transfer.config.schema import Phase, RunConfig, settle_batch_norm
from keras_transfer.data.dataset import Dataset
from keras_transfer.data.facts import Facts, describe

UNBALANCED = 3.0  # largest class : smallest class, from where on the classes are weighted


def resolve(config: RunConfig, data: Dataset, probe: bool = True) -> tuple[RunConfig, list[str]]:
    """Replace every ``auto`` by a value chosen from the data.

    Args:
        config: as the user gave it.
        data: the opened data set.
        probe: whether the mirror probe (a minute of computing at most) may run; without it, colour pictures are
            taken to survive a horizontal flip and grey ones not to.

    Returns:
        The complete configuration, and a line for each choice with its reason.
    """
    facts = describe(data)
    choices: list[str] = []
    tree: dict[str, Any] = config.model_dump()

    def choose(section: str, key: str, value: Any, why: str) -> None:
        if tree[section][key] == "auto":
            tree[section][key] = value
            choices.append(f"{section}.{key} = {_short(value)} ({why})")

    choose("data", "color", data.color, "grey pictures" if data.color == "grey" else "colour pictures")
    size, why = image_size(facts, config.model.backbone)
    choose("data", "image_size", size, why)
    choose("data", "batch_size", *batch_size(facts))
    choose("data", "class_weights", *class_weights(facts))
    choose("data", "workers", *_workers())
    if tree["data"]["augment"] == "auto":
        choose("data", "augment", *augmentation(facts, data, tree, probe))
    if tree["phases"] == "auto":
        tree["phases"] = [phase.model_dump() for phase in phases(facts)]
        for keys, value in config._phase_overrides:
            apply_override(tree, keys, value)
        for phase in tree["phases"]:
            choices.append(
                f"phase {phase['name']}: up to {phase['epochs']} epochs, {phase['optimizer']}, "
                f"{phase['schedule']} from {phase['learning_rate']:g} ({facts.n_train} training pictures)"
            )
    complete = validate(tree)
    complete.phases = settle_batch_norm(complete.phases, complete.model.weights)  # type: ignore[arg-type]
    return complete, choices


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(v["name"]) if isinstance(v, dict) else str(v) for v in value) or "none"
    return str(value)


def image_size(facts: Facts, backbone: str) -> tuple[int, str]:
    """Choose the input size from the median shorter side of the pictures."""
    from keras_transfer.models.backbones import get

    record = get(backbone)
    if facts.median_side >= record.image_size * 0.75:
        return record.image_size, f"the size that {record.name} was trained at"
    size = 96 if facts.median_side <= 16 else 128 if facts.median_side <= 48 else 160
    size = max(record.min_size, min(record.image_size, size))
    return size, f"the pictures are about {facts.median_side} pixels; more would only be blur"


def batch_size(facts: Facts) -> tuple[int, str]:
    """Choose the batch size: small sets need the steps more than the speed."""
    return (16, "a small set") if facts.n_train < 400 else (32, "the usual size")


def class_weights(facts: Facts) -> tuple[str, str]:
    """Weigh the classes when they are unbalanced."""
    if facts.imbalance >= UNBALANCED:
        return "sqrt", f"the largest class has {facts.imbalance:.1f} times the pictures of the smallest"
    return "none", "the classes are balanced"


def _workers() -> tuple[int, str]:
    import os

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores)), f"{cores} cores"


def augmentation(facts: Facts, data: Dataset, tree: dict[str, Any], probe: bool) -> tuple[list[Any], str]:
    """Choose augmentations that keep the label: flips only where a mirrored picture is still what it was."""
    mirrored, why = not facts.is_grey, "grey pictures may be signs" if facts.is_grey else "colour pictures"
    if probe:
        from keras_transfer.training.mirror import feature_model, mirror_probe

        size, model = tree["data"]["image_size"], tree["model"]
        shape = (size, size) if isinstance(size, int) else tuple(size)
        features = feature_model(model["backbone"], model["weights"], shape, tree["data"]["color"])
        mirrored, why = mirror_probe(data, features, tree["data"]["resize"], tree["seed"])
    flip = ["horizontal_flip"] if mirrored else []
    if facts.is_grey:
        moved = {"name": "affine", "degrees": 10, "translate": 0.08, "scale": [0.85, 1.15], "fill": "reflect"}
        return [*flip, moved], why
    crop = {"name": "random_resized_crop", "scale": [0.5, 1.0]}
    return [crop, *flip, {"name": "color_jitter", "brightness": 0.2, "contrast": 0.2, "saturation": 0.2}], why


def phases(facts: Facts) -> list[Phase]:
    """Choose the stages: the new head on cached features, then everything, slowly, with BatchNorm frozen."""
    epochs = max(6, min(20, round(8_000 / max(1, facts.n_train))))
    common: dict[str, Any] = {"optimizer": "adamw", "schedule": "cosine", "weight_decay": 1e-4}
    return [
        Phase("head", epochs=10, learning_rate=3e-3, augment=False, **common),
        Phase("all", epochs=epochs, learning_rate=5e-4, warmup_epochs=0.1 * epochs, clip_norm=1.0, **common),
    ]
