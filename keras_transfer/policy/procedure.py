"""What automatic phases are: a head solved on the best features at hand, and fine-tuning where there is time for it and evidence for it.

``docs/defaults.md`` has the figures behind the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_transfer.config.load import complete_data
from keras_transfer.config.schema import BACKBONE, LABEL_SMOOTHING, Phase, RunConfig
from keras_transfer.data.dataset import Dataset
from keras_transfer.data.statistics import DataStatistics
from keras_transfer.evaluation.leaderboard import Leaderboard
from keras_transfer.typing import Say

if TYPE_CHECKING:
    from keras_transfer.policy.heads import Head

LARGE = 3000
"""Training images from which a part of them, held out, is evidence enough; below, every image is needed for training."""
MANY = 1000
"""Classes from which, with more than that many images, the head is trained by gradient descent: solving it would take hours."""
FINE_RATES = {"efficientnet_lite0": 3.5e-4}  # MobileNetV2 forgets at 5e-4; other backbones take the gentler rate


SECONDS = {"quick": 0.0, "standard": 65.0, "best": 1200.0}
"""Time for fine-tuning."""
RATE, GPU_RATE, PARAMETERS = 35.0, 2000.0, 3_413_024
"""Training images per second of EfficientNet-Lite0 on two cores and on a GPU, and its parameters: rough, to plan by."""
FEATURE_RATE = 100.0  # images per second that features are computed of
LEAST_EPOCHS, MOST_EPOCHS = 5, 25
PLANS = ((3, 3, False), (3, 1, True), (5, 1, True), (5, 1, False))
"""Folds, how many of them are trained without, and whether all images are trained on in the end: from thorough to cheap."""


@dataclass(frozen=True)
class ChosenHead:
    """The head that out-of-fold predictions speak for.

    Attributes:
        head: backbone and features.
        strength: of its regularization.
        leaderboard: all candidates.
    """

    head: Head
    strength: float
    leaderboard: Leaderboard


def is_judged(config: RunConfig, statistics: DataStatistics) -> bool:
    """Return whether candidates are compared by out-of-fold predictions."""
    solvable = statistics.n_train <= LARGE or (config.effort == "quick" and not _is_huge(statistics))
    return config.is_automatic and solvable


def _is_huge(statistics: DataStatistics) -> bool:
    return statistics.n_train > LARGE and statistics.n_classes > MANY


def backbones(config: RunConfig, statistics: DataStatistics) -> tuple[list[str], str]:
    """Return the backbones to compare, and why; the first is the one that is used where nothing is compared."""
    if config.model.backbone != "auto":
        return [config.model.backbone], "given"
    installed = _installed() if config.model.weights == "imagenet" else []
    if not installed or not is_judged(config, statistics) or config.effort == "quick" or config.model.stem != "keep":
        return [BACKBONE], "its weights are always installed"
    return installed, "their weights are installed"


def _installed() -> list[str]:
    from keras_transfer.models.backbones import at_hand

    return at_hand()


def label_smoothing(config: RunConfig) -> tuple[float, str]:
    """Choose label smoothing, which makes probabilities too small."""
    return (0.0, "for calibrated probabilities") if config.is_automatic else (LABEL_SMOOTHING, "the usual value")


def choose_head(
    config: RunConfig,
    statistics: DataStatistics,
    names: Sequence[str],
    tree: dict[str, Any],
    data: Dataset,
    device: str,
    say: Say,
) -> ChosenHead:
    """Compare heads on these backbones; ``tree`` is the configuration, with everything about the images chosen."""
    from keras_transfer.policy.heads import rank_heads

    say(_plan(config, names, data))
    images = complete_data({**tree["data"], "augment": [], "cache_precision": "float32", "views": 0})
    # All backbones together cost several times as much to fine-tune: they are worth it where there is time, or no fine-tuning at all.
    joined = config.effort == "best" or _fine(config, statistics, None, device) is None
    found = ChosenHead(*rank_heads(names, joined, tree["model"], images, data.train, say))
    if config.effort != "quick" and not _is_worth_tuning(config, statistics, found):
        say(
            "fine-tuning is left out: out of fold, the head is right on all images but one at most; --epochs asks for it"
        )
    return found


def _is_worth_tuning(config: RunConfig, statistics: DataStatistics, chosen: ChosenHead) -> bool:
    """Return whether fine-tuning could show a gain, or the user has set something of it: where hardly an image is wrong, it cannot."""
    wrong = (1 - chosen.leaderboard.chosen.accuracy) * statistics.n_train
    return isinstance(config.phases, dict) or not wrong < 1 + 1e-6


def _plan(config: RunConfig, names: Sequence[str], data: Dataset) -> str:
    """Return what will be done, and about how long it takes on two cores, in one line."""
    from keras_transfer.models.backbones import get

    count = min(len(data.train), LARGE)
    features = 5 + count * len(names) * (get(names[0]).image_size / 224) ** 2 / FEATURE_RATE
    heads = (
        f"heads on {len(names)} backbone{'s' if len(names) > 1 else ''} compared by cross-validation, {features:.0f} s"
    )
    if config.effort == "quick":
        return f"plan, with effort quick: {heads}"
    epochs = _asked(config).get("epochs")
    if epochs:
        return f"plan: {heads}; {epochs} epochs of fine-tuning, kept if held-out images speak for it"
    seconds = SECONDS[config.effort] if isinstance(config.effort, str) else 60 * config.effort
    return f"plan, with effort {config.effort}: {heads}; fine-tuning, kept if held-out images speak for it, up to {seconds:.0f} s"


def phases(config: RunConfig, statistics: DataStatistics, chosen: ChosenHead | None, device: str) -> list[Phase]:
    """Choose the phases: the head, solved; then fine-tuning that must earn its place.

    Args:
        config: the user's configuration.
        statistics: of the data.
        chosen: the head that cross-validation speaks for; None if nothing was compared.
        device: that trains.
    """
    head = Phase("head", solver="exact", strength="auto" if chosen is None else chosen.strength)
    if _is_huge(statistics):
        head = Phase("head", epochs=20, learning_rate=2e-3, optimizer="adamw", schedule="cosine", augment=False)
    if config.effort == "quick" or (chosen is not None and not _is_worth_tuning(config, statistics, chosen)):
        return [head]
    if statistics.n_train > LARGE:
        return [head, _everything(statistics, BACKBONE if config.model.backbone == "auto" else config.model.backbone)]
    fine = _fine(config, statistics, chosen.head if chosen else None, device)
    return [head, fine] if fine else [head]


def _fine(config: RunConfig, statistics: DataStatistics, head: Head | None, device: str) -> Phase | None:
    """Choose fine-tuning that fits into the time: how long, and judged by how many folds.

    Returns:
        None if none fits, unless the user has asked for it by its epochs or its learning rate.
    """
    asked = _asked(config)
    n = statistics.n_train
    seconds = SECONDS[config.effort] if isinstance(config.effort, str) else 60 * config.effort
    cost = head.parameters / PARAMETERS if head else 1.0
    affordable = seconds * (RATE if device == "cpu" else GPU_RATE) / cost
    wanted = max(LEAST_EPOCHS, min(MOST_EPOCHS, round(6000 / n)))
    backbone = head.backbone if head else BACKBONE
    for folds, rounds, refit in PLANS:
        passes = rounds * (folds - 1) / folds + refit
        epochs = min(asked.get("epochs", wanted), int(affordable / (n * passes)))
        # Training on all images for long is worth more than judging by all of them (docs/defaults.md); the last plan is better than none.
        last = (folds, rounds, refit) == PLANS[-1]
        least = wanted if rounds == folds else LEAST_EPOCHS if last else max(LEAST_EPOCHS, wanted // 2)
        if epochs >= asked.get("epochs", least):
            return _folded(backbone, folds, rounds, refit, epochs)
    return _folded(backbone, *PLANS[-1], asked.get("epochs", LEAST_EPOCHS)) if asked else None


def _asked(config: RunConfig) -> dict[str, Any]:
    """Return what the user has set of fine-tuning, the last phase: its epochs or its learning rate."""
    changes = config.phases.get(-1, {}) if isinstance(config.phases, dict) else {}
    epochs = {"epochs": int(changes["epochs"])} if "epochs" in changes else {}
    return epochs | {key: changes[key] for key in ("learning_rate",) if key in changes}


def _folded(backbone: str, folds: int, rounds: int, refit: bool, epochs: int) -> Phase:
    """Train everything, with BatchNorm frozen, without each fold in turn.

    All layers: where images are unlike those of ImageNet, the first layers are what has to change most, and where they are like them,
    the held-out images say how far to go.
    """
    return Phase(
        "fine",
        train="all",
        folds=folds,
        rounds=rounds,
        refit=refit,
        epochs=epochs,
        learning_rate=fine_rate(backbone),
        optimizer="adamw",
        schedule="cosine",
        warmup_epochs=0.1 * epochs,
        clip_norm=1.0,
        weight_decay=1e-4,
    )


def fine_rate(backbone: str) -> float:
    """Choose the peak rate of fine-tuning, for AdamW: transformers forget at the rates of convolutional networks."""
    from keras_transfer.models.backbones import get

    if backbone in FINE_RATES:
        return FINE_RATES[backbone]
    return 3e-5 if get(backbone).fixed_size else 1.5e-4


def _everything(statistics: DataStatistics, backbone: str) -> Phase:
    """Train everything, gently, with BatchNorm frozen."""
    epochs = fine_tuning_epochs(statistics)
    return Phase(
        "all",
        epochs=epochs,
        optimizer="adamw",
        schedule="cosine",
        weight_decay=1e-4,
        learning_rate=fine_rate(backbone),
        warmup_epochs=0.1 * epochs,
        clip_norm=1.0,
    )


def from_scratch(statistics: DataStatistics) -> Phase:
    """Train random weights, which have nothing to keep."""
    return Phase(
        "all",
        epochs=2 * fine_tuning_epochs(statistics),
        learning_rate=1e-3,
        warmup_epochs=1,
        optimizer="adamw",
        schedule="cosine",
        weight_decay=1e-4,
    )


def fine_tuning_epochs(statistics: DataStatistics) -> int:
    """Choose the epochs that train everything: about as many steps for a small set as for a large one."""
    return max(8, min(25, round(8_000 / max(1, statistics.n_train))))
