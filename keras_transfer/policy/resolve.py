"""Settings chosen from the data: every ``auto`` of a configuration gets its value here.

The rules were found by experiment on small image sets; ``docs/defaults.md`` has the figures behind them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from keras_transfer import runtime
from keras_transfer.config.load import apply_override, validate
from keras_transfer.config.resolved import Decision, ResolvedConfig, settle_batch_norm
from keras_transfer.config.schema import RunConfig
from keras_transfer.data.dataset import Dataset
from keras_transfer.data.statistics import DataStatistics, describe
from keras_transfer.distribute import place
from keras_transfer.errors import UserError
from keras_transfer.evaluation.leaderboard import Leaderboard
from keras_transfer.policy import procedure
from keras_transfer.typing import Say

UNBALANCED = 1.5  # ratio of the largest class to the smallest from which the classes are weighted
SIZES = (224, 192, 160, 128)
SMALL_SIDE = 48  # pixels: grey images up to this size are signs and characters, which fill the picture
BUDGET = 16_000  # images times epochs at the first of SIZES: about a quarter of an hour on two cores


ALONE = runtime.Choice("none", "one process")


@dataclass(frozen=True)
class Machine:
    """Backend, device and precisions of a run, with reasons.

    Attributes:
        backend: the running Keras backend.
        device: ``cpu``, ``gpu`` or ``mps``.
        precision: of training.
        feature_precision: of cached features.
        distribute: whether several processes or devices train together.
    """

    backend: runtime.Choice
    device: str
    precision: runtime.Choice
    feature_precision: runtime.Choice
    distribute: runtime.Choice = ALONE

    @classmethod
    def of(cls, config: RunConfig, backend: runtime.Choice) -> Machine:
        """Choose device and precision for the running backend."""
        device = runtime.device_in_use()
        precision = runtime.choose_precision(config.precision, device, config.model.native)
        features = runtime.choose_feature_precision(
            config.data.cache_precision, config.precision, precision.value, device
        )
        return cls(backend, device, precision, features)

    def __str__(self) -> str:
        return f"device: {self.device}; precision: {self.precision}; of cached features: {self.feature_precision}"


class _Choices:
    """A configuration tree in which ``auto`` is replaced key by key, and the decisions made."""

    def __init__(self, config: RunConfig):
        self.tree: dict[str, Any] = config.model_dump()
        self.decisions: list[Decision] = []

    def is_open(self, key: str) -> bool:
        """Return whether a key is ``auto``."""
        section, _, name = key.rpartition(".")
        return bool((self.tree[section] if section else self.tree)[name] == "auto")

    def choose(self, key: str, value: Any, reason: str) -> None:
        """Set the value of a key that is ``auto``."""
        if self.is_open(key):
            apply_override(self.tree, key.split("."), value)
            self.decisions.append(Decision(key, value, reason))


def resolve(config: RunConfig, data: Dataset, machine: Machine, *, probe: bool = True) -> ResolvedConfig:
    """Replace every ``auto`` by a value chosen from the data and the machine, without computing features of the images.

    Args:
        config: the user's configuration.
        data: the opened data set.
        machine: backend, device and precisions.
        probe: whether the mirror probe (at most a minute) may run; without it, horizontal flips are used for colour images only.

    Returns:
        The complete configuration, with a decision for each choice.

    Raises:
        UserError: a change to an automatic phase that is not valid.
    """
    return _resolve(config, data, machine, probe, None)[0]


def resolve_by_evidence(
    config: RunConfig, data: Dataset, machine: Machine, say: Say
) -> tuple[ResolvedConfig, Leaderboard | None]:
    """Replace every ``auto`` as :func:`resolve` does, and choose backbone and features by cross-validation where they are open.

    Args:
        config: the user's configuration.
        data: the opened data set.
        machine: backend, device and precisions.
        say: gets a line about the work.

    Returns:
        The complete configuration, and the candidates with what was found of them; None where nothing was compared.
    """
    return _resolve(config, data, machine, True, say)


def _resolve(
    config: RunConfig, data: Dataset, machine: Machine, probe: bool, say: Say | None
) -> tuple[ResolvedConfig, Leaderboard | None]:
    statistics = describe(data)
    choices = _Choices(config)
    names, why = procedure.backbones(config, statistics)
    judged = procedure.is_judged(config, statistics)
    choices.choose("data.val_fraction", config.val_fraction, "the share without a validation set")
    choices.choose("data.color", data.color, "grey images" if data.color == "grey" else "colour images")
    choices.choose("data.image_size", *image_size(statistics, "+".join(names), affordable=judged))
    choices.choose("data.batch_size", *batch_size(statistics))
    choices.choose(
        "data.depth", data.depth, "the values that 16-bit training images use" if data.depth else "no 16-bit images"
    )
    choices.choose("data.class_weights", *class_weights(statistics, config.is_automatic))
    choices.choose("data.workers", *_workers())
    choices.choose("data.image_memory", *_image_memory())
    choices.choose("data.cache", "disk", "features of frozen layers serve later runs too")
    choices.choose("model.label_smoothing", *procedure.label_smoothing(config))
    board = (
        procedure.choose_head(config, statistics, names, choices.tree, data, machine.device, say)
        if judged and say is not None
        else None
    )
    if board is not None:
        choices.choose("model.backbone", board.head.backbone, board.leaderboard.chosen.reason)
        choices.choose("model.taps", board.head.taps, board.leaderboard.chosen.reason)
    choices.choose("model.backbone", names[0], why)
    choices.choose("model.taps", 0, "the last feature map")
    _choose_phases(config, statistics, choices, board, machine)
    choices.choose("data.views", 0, "every epoch augments the images anew")
    if choices.is_open("data.augment"):
        if any(phase["augment"] and phase["solver"] == "gradient" for phase in choices.tree["phases"]):
            mirrored = mirrors(data, statistics, choices.tree, probe)
            choices.choose("data.augment", *augmentation(statistics, *mirrored))
        else:
            choices.choose("data.augment", [], "nothing is trained on augmented images")
    choices.choose("backend", machine.backend.value, machine.backend.why)
    choices.choose("device", machine.device, f"where {machine.backend.value} computes")
    choices.choose("distribute", machine.distribute.value, machine.distribute.why)
    choices.choose("precision", machine.precision.value, machine.precision.why)
    choices.choose("data.cache_precision", machine.feature_precision.value, machine.feature_precision.why)
    choices.tree["backend"], choices.tree["device"] = machine.backend.value, machine.device
    return _complete(choices), board.leaderboard if board else None


def _choose_phases(
    config: RunConfig,
    statistics: DataStatistics,
    choices: _Choices,
    board: procedure.ChosenHead | None,
    machine: Machine,
) -> None:
    """Choose the phases unless they are given, and apply changes to them."""
    if isinstance(config.phases, tuple):
        return
    if config.is_automatic:
        found = procedure.phases(config, statistics, board, machine.device)
    else:
        found = [procedure.from_scratch(statistics)]
    chosen = [phase.model_dump() for phase in found]
    choices.tree["phases"] = chosen
    if isinstance(config.phases, dict):
        for number, changes in config.phases.items():
            if number >= len(chosen):
                raise UserError(
                    f"phases.{number}: the phases chosen from the data are numbered from 0 to {len(chosen) - 1}"
                )
            chosen[number].update({"epochs": 1} if changes.get("solver") == "exact" else {}, **changes)
    reason = f"{statistics.n_train} training images"
    choices.decisions += [Decision(f"phases.{k}", phase, reason) for k, phase in enumerate(chosen)]


def _complete(choices: _Choices) -> ResolvedConfig:
    checked = validate(choices.tree)
    assert isinstance(checked.phases, tuple)
    tree = checked.model_dump()
    tree["phases"] = settle_batch_norm(checked.phases, checked.model.weights)
    return ResolvedConfig.model_validate({**tree, "decisions": tuple(choices.decisions)})


def image_size(statistics: DataStatistics, backbone: str, affordable: bool = False) -> tuple[int, str]:
    """Choose the input size from the images' own size, and from how much there is to compute.

    Args:
        statistics: of the data.
        backbone: name, or names joined by ``+``.
        affordable: whether every image is computed only a few times, so that the largest size is affordable.
    """
    from keras_transfer.models.backbones import get

    record = get(backbone)
    if statistics.median_side <= 16:
        wanted, why = 64, f"the images have about {statistics.median_side:g} pixels a side"
    elif statistics.is_grey and statistics.median_side <= SMALL_SIDE:
        wanted, why = 96, f"grey images of about {statistics.median_side:g} pixels a side"
    elif affordable:
        smallest = min((part.image_size for part in record.parts), default=record.image_size)
        wanted, why = smallest, f"the size of {'the smallest backbone' if record.parts else backbone}"
    else:
        wanted, why = _affordable(statistics, record.image_size)
    return max(record.min_size, min(record.image_size, wanted)), why


def _affordable(statistics: DataStatistics, largest: int) -> tuple[int, str]:
    """Choose the largest usual size whose training stays within the budget: accuracy grows with the size, even for
    small images, and the time with its square.
    """
    work = statistics.n_train * procedure.fine_tuning_epochs(statistics)
    budget = BUDGET if statistics.median_side > 48 else BUDGET / 2
    for size in SIZES:
        if size <= largest and work * (size / SIZES[0]) ** 2 <= budget:
            return size, f"the largest size that {statistics.n_train} training images leave time for"
    return SIZES[-1], f"{statistics.n_train} training images leave time for no larger size"


def batch_size(statistics: DataStatistics) -> tuple[int, str]:
    """Choose the batch size: small sets need the steps more than the speed."""
    return (16, "a small set") if statistics.n_train < 300 else (32, "the usual size")


def class_weights(statistics: DataStatistics, automatic: bool = False) -> tuple[str, str]:
    """Weight unbalanced classes by the square root of the inverse frequency: best in accuracy and balanced accuracy.

    Automatic phases need no weights, which would make probabilities wrong: the optimum of the loss is reached for rare classes too.
    """
    if automatic:
        return "none", "probabilities stay those of the data"
    if statistics.imbalance > UNBALANCED:
        return "sqrt", f"the largest class has {statistics.imbalance:.1f} times the images of the smallest"
    return "none", "the classes are balanced"


def _workers() -> tuple[int, str]:
    here = place()
    cores = max(1, runtime.usable_cores() // (here.local_size if here else 1))
    return max(1, min(8, cores)), f"{cores} cores"


def _image_memory() -> tuple[float, str]:
    """Choose the GiB for decoded images; on a machine that does not say what is free, none."""
    return round((runtime.usable_memory() or 0) / 4 / 1024**3, 1), "a quarter of the memory that is free"


def mirrors(data: Dataset, statistics: DataStatistics, tree: dict[str, Any], probe: bool) -> tuple[bool, str]:
    """Say whether a horizontal flip keeps the label, and why.

    Args:
        data: the opened data set.
        statistics: of it.
        tree: the configuration, with colour and size chosen.
        probe: whether the mirror probe may run; features of random weights would tell it nothing.
    """
    size, color, model = tree["data"]["image_size"], tree["data"]["color"], tree["model"]
    if not probe or model["weights"] == "none":
        return not statistics.is_grey, "grey images may be signs" if statistics.is_grey else "colour images"
    from keras_transfer.policy.mirror import feature_model, mirror_probe

    shape = (size, size) if isinstance(size, int) else tuple(size)
    features = feature_model(model["backbone"], model["weights"], shape, color, model["stem"])
    return mirror_probe(data, features, tree["data"]["resize"], tree["seed"])


def augmentation(statistics: DataStatistics, mirrored: bool, why: str) -> tuple[list[Any], str]:
    """Choose augmentations that keep the label: flips only where a mirrored image still shows its class."""
    flip = ["horizontal_flip"] if mirrored else []
    if statistics.is_grey:
        moved = {"name": "affine", "degrees": 5, "translate": 0.05, "scale": [0.92, 1.08], "fill": "reflect"}
        return [*flip, moved], why
    crop = {"name": "random_resized_crop", "scale": [0.7, 1.0]}
    return [crop, *flip, {"name": "color_jitter", "brightness": 0.2, "contrast": 0.2, "saturation": 0.2}], why


def decisions_as_json(decisions: tuple[Decision, ...] | list[Decision]) -> list[dict[str, Any]]:
    """Return decisions as a run's ``manifest.json`` holds them."""
    return [asdict(decision) for decision in decisions]
