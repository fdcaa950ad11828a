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
FINE_RATES = {"efficientnet_lite0": 3.5e-4}  # MobileNetV2 forgets at 5e-4; other backbones take the gentler rate


@dataclass(frozen=True)
class ChosenHead:
    """The head that out-of-fold predictions speak for.

    Attributes:
        head: backbone and features.
        leaderboard: all candidates.
    """

    head: Head
    leaderboard: Leaderboard


def is_judged(config: RunConfig, statistics: DataStatistics) -> bool:
    """Return whether candidates are compared by out-of-fold predictions."""
    return config.is_automatic and (statistics.n_train <= LARGE or config.effort == "quick")


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


def choose_head(names: Sequence[str], tree: dict[str, Any], data: Dataset, say: Say) -> ChosenHead:
    """Compare heads on these backbones; ``tree`` is the configuration, with everything about the images chosen."""
    from keras_transfer.policy.heads import rank_heads

    images = complete_data({**tree["data"], "augment": [], "cache_precision": "float32"})
    return ChosenHead(*rank_heads(names, tree["model"], images, data.train, say))


def phases(config: RunConfig, statistics: DataStatistics, backbone: str, device: str) -> list[Phase]:
    """Choose the phases: the head, solved; then fine-tuning that must earn its place.

    Args:
        config: the user's configuration.
        statistics: of the data.
        backbone: the chosen one.
        device: that trains.
    """
    head = Phase("head", solver="exact")
    if config.effort == "quick":
        return [head]
    if statistics.n_train > LARGE:
        return [head, _everything(statistics, backbone)]
    return [head]


def _everything(statistics: DataStatistics, backbone: str) -> Phase:
    """Train everything, gently, with BatchNorm frozen."""
    epochs = fine_tuning_epochs(statistics)
    return Phase(
        "all",
        epochs=epochs,
        optimizer="adamw",
        schedule="cosine",
        weight_decay=1e-4,
        learning_rate=FINE_RATES.get(backbone, 1.5e-4),
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
