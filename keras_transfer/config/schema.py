"""The schema of a run: every key, its type, its default and its meaning. Defaults live only here.

``"auto"`` stands for a value that is chosen from the data (:mod:`keras_transfer.policy.resolve`); the resolved
configuration kept with a run holds none.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from keras_transfer.config.interval import Interval

Auto = Literal["auto"]
LAST_GROUPS = re.compile(r"^last (\d+) groups?$")


def _no_bool(value: Any) -> Any:
    # YAML's `yes` and Python's True are integers to pydantic; nobody means a batch size of True.
    if isinstance(value, bool):
        raise ValueError("expected a number, got a boolean")
    return value


Positive = Annotated[int, BeforeValidator(_no_bool), Field(ge=1)]
Fraction = Annotated[float, BeforeValidator(_no_bool), Field(ge=0, lt=1)]
Rate = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, BeforeValidator(_no_bool), Field(ge=0, allow_inf_nan=False)]
Side = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=4096)]


def _switch_or_name(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and value):
        return value
    raise ValueError(f"expected true, false or a name, got {value!r}")


SwitchOrName = Annotated[bool | str, BeforeValidator(_switch_or_name)]
ImageSize = Side | tuple[Side, Side]


def _interval(value: Any) -> Any:
    Interval.parse(value)
    return str(value)


Every = Annotated[str, BeforeValidator(_interval)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class DataConfig(Section):
    """Where the images are and how they become batches."""

    source: str = Field(
        "folder", description="Kind of data source (see the page on data), or the name of another package's source."
    )
    options: dict[str, Any] = Field({}, description="Options of the source that have no key here, by name.")
    path: str | None = Field(None, description="Folder, archive, `.npz` or `.csv` file.")
    root: str | None = Field(None, description="Folder that relative paths in a list or CSV start from.")
    train: str | None = Field(None, description="List file of the training images (`path label` a line).")
    val: str | None = Field(None, description="List file of the validation images.")
    test: str | None = Field(None, description="List file of the test images.")
    classes: list[str] | str | None = Field(None, description="Class names, or a text file with one a line.")
    labels: Literal["fine", "coarse"] | None = Field(None, description="Which labels of `cifar100`.")
    image_size: ImageSize | Auto = Field("auto", description="Input size in pixels: one number or [height, width].")
    color: Literal["auto", "rgb", "grey"] = Field("auto", description="Channels of the model's input.")
    resize: Literal["squash", "crop", "pad"] = Field(
        "squash", description="How an image of another shape is fitted: change its aspect, cut, or add a border."
    )
    batch_size: Positive | Auto = Field("auto", description="Images in a training step.")
    accumulate: Positive = Field(
        1,
        description="Parts that a training step is computed in, to save memory; the result is that of the whole batch.",
    )
    val_fraction: Fraction = Field(0.15, description="Share of the training images held out for validation.")
    test_fraction: Fraction = Field(0.15, description="Share held out for the test, where no test set is given.")
    limit: Positive | None = Field(None, description="Use at most this many training and validation images.")
    limit_test: Positive | None = Field(None, description="Use at most this many test images.")
    on_bad_image: Literal["error", "skip"] = Field("error", description="What to do about unreadable images.")
    class_weights: Literal["auto", "none", "balanced", "sqrt"] = Field(
        "auto", description="Weights of the classes in the loss: inverse frequency or its square root."
    )
    augment: list[str | dict[str, Any]] | Auto = Field("auto", description="Augmentations, by name or with parameters.")
    workers: Positive | Auto = Field("auto", description="Threads that decode and augment.")
    cache: Literal["auto", "off", "memory", "disk"] = Field(
        "auto",
        description="Where features of frozen layers are kept; `auto`: on disk, for later runs too, or else in memory; "
        "`off`: they are computed in every epoch.",
    )
    cache_limit: NonNegative = Field(
        20.0, description="GiB that cached features of all runs may take on disk; the least recently used go first."
    )
    cache_precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Numbers that features are computed and kept in; `auto`: as `precision`, and if that is `auto` "
        "too, bfloat16 where training computes in it, or the processor does and OpenVINO is installed.",
    )
    views: Annotated[int, BeforeValidator(_no_bool), Field(ge=0)] = Field(
        0,
        description="In augmented phases with frozen layers, augmented views of each image whose features are cached, "
        "one for each epoch drawn from them; 0: images are augmented anew, and nothing is cached.",
    )


class ModelConfig(Section):
    """The network: a pretrained backbone and a new head."""

    backbone: str = Field("efficientnet_lite0", description="Name of the backbone; keras-hub presets as `hub:NAME`.")
    weights: str = Field("imagenet", description="`imagenet`, `none`, or the path of a weights file.")
    stem: Literal["keep", "small_image", "one_channel"] = Field(
        "keep",
        description="The first layers: `small_image` keeps the middle of the first convolution's kernel and does not shrink "
        "the image there; `one_channel` lets it take grey images as they are.",
    )
    pooling: Literal["avg", "max"] = Field("avg", description="Global pooling between backbone and head.")
    dropout: Fraction = Field(0.2, description="Dropout rate before the logits.")
    native: bool = Field(
        True,
        description="On torch, and on jax on a CPU, run layers by faster operations than Keras's own; same results.",
    )
    label_smoothing: Fraction = Field(0.1, description="Probability mass spread evenly over all classes.")


class Phase(Section):
    """One stage of training: what is trained, for how long and how fast.

    Args:
        name: the phase's name; ``"head"`` and ``"all"`` also say what is trained unless ``train`` does.
    """

    name: str = Field(min_length=1, description="Name of the phase.")
    epochs: Positive = Field(5, description="Greatest number of epochs.")
    train: str | list[str] = Field(
        "", description="`head`, `all`, `last N groups`, or patterns over layer names; by default the phase's name."
    )
    learning_rate: Rate | Auto = Field(
        1e-3, description="Initial (or peak) learning rate; `auto`: found by a range test when the phase begins."
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adamw", description="Optimizer.")
    momentum: Fraction = Field(0.9, description="Momentum of `sgd`.")
    weight_decay: NonNegative = Field(0.0, description="Decoupled weight decay; biases and norms are spared.")
    schedule: Literal["plateau", "constant", "cosine", "one_cycle"] = Field(
        "plateau", description="Learning rate over the phase; `plateau` reduces it when validation stalls."
    )
    warmup_epochs: NonNegative = Field(0.0, description="Linear warm-up, in epochs (not with `plateau`).")
    batch_norm: Literal["auto", "frozen", "train"] = Field(
        "auto",
        description="Whether the backbone's BatchNormalization layers stay frozen or train with the rest; "
        "`auto`: frozen if the weights are pretrained.",
    )
    augment: bool = Field(
        True, description="Whether the training images are augmented; if not, frozen layers are computed only once."
    )
    clip_norm: Rate | None = Field(None, description="Clip the global norm of the gradients.")
    group_decay: Annotated[float, BeforeValidator(_no_bool), Field(gt=0, le=1)] = Field(
        1.0,
        description="Factor of the learning rate from each layer group to the one before it; the head has the whole.",
    )
    average: Literal["none", "ema", "swa"] = Field(
        "none",
        description="Averages of the weights, which are validated and kept in their place: `ema`, an exponential moving average "
        "over the steps; `swa`, the mean over the ends of the epochs.",
    )
    ema_momentum: Fraction = Field(0.99, description="Momentum of `ema`.")

    @property
    def rate(self) -> float:
        """The learning rate of a phase that has one already."""
        assert self.learning_rate != "auto"
        return self.learning_rate

    def __init__(self, name: str | None = None, /, **values: Any):
        super().__init__(**({"name": name} if name is not None else {}), **values)

    @field_validator("train")
    @classmethod
    def _known_form(cls, value: str | list[str]) -> str | list[str]:
        if isinstance(value, list) and not value:
            raise ValueError("expected at least one pattern")
        if isinstance(value, str) and value and value not in ("head", "all") and not LAST_GROUPS.match(value):
            raise ValueError(f"expected head, all, 'last N groups' or a list of layer-name patterns, got {value!r}")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Phase:
        if not self.train:
            if self.name not in ("head", "all") and not LAST_GROUPS.match(self.name):
                raise ValueError(f"phase {self.name!r} needs 'train' (head, all, 'last N groups' or patterns)")
            self.__dict__["train"] = self.name
        if self.schedule == "plateau" and self.warmup_epochs:
            raise ValueError("warmup_epochs needs schedule constant, cosine or one_cycle, not plateau")
        return self


def settle_batch_norm(phases: list[Phase], weights: str) -> list[Phase]:
    """Return the phases with ``batch_norm: auto`` replaced: ImageNet's statistics are kept, random ones are not."""
    settled = "train" if weights == "none" else "frozen"
    return [p.model_copy(update={"batch_norm": settled}) if p.batch_norm == "auto" else p for p in phases]


class ReduceLROnPlateauConfig(Section):
    """Keras's ReduceLROnPlateau, used by phases whose schedule is ``plateau``."""

    factor: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="Multiplier of the learning rate.")
    patience: Positive = Field(2, description="Epochs without improvement before reducing.")
    min_lr: NonNegative = Field(1e-6, description="Smallest learning rate.")


class EarlyStoppingConfig(Section):
    """Keras's EarlyStopping, in `plateau` and `constant` phases; an annealed one runs to its end."""

    patience: Positive = Field(8, description="Epochs without improvement before the phase ends.")
    min_delta: NonNegative = Field(0.0, description="Smallest change that counts as improvement.")


class CallbacksConfig(Section):
    """Callbacks of every phase."""

    monitor: Literal["val_loss", "val_accuracy"] = Field(
        "val_loss", description="The figure that chooses the best model, reduces the rate and stops early."
    )
    reduce_lr: ReduceLROnPlateauConfig = Field(
        default_factory=ReduceLROnPlateauConfig, description="Settings of ReduceLROnPlateau."
    )
    early_stopping: EarlyStoppingConfig | None = Field(
        default_factory=EarlyStoppingConfig, description="Settings of EarlyStopping; null turns it off."
    )
    tensorboard: bool = Field(False, description="Also write TensorBoard logs into the run directory.")
    mlflow: SwitchOrName = Field(
        False,
        description="Also log to MLflow; the name of an experiment, or true: that of `MLFLOW_EXPERIMENT_NAME`, else `name`.",
    )
    wandb: SwitchOrName = Field(
        False,
        description="Also log to Weights & Biases; the name of a project, or true: that of `WANDB_PROJECT`, else `name`.",
    )


class OutputConfig(Section):
    """What the run leaves behind."""

    dir: str | None = Field(None, description="Run directory; by default `runs/NAME-DATE-TIME`.")
    save_every: Every = Field(
        "1 minute",
        description="How often the state for resuming is saved: `90 seconds`, `2 minutes`, `100 steps`, `1 epoch`; a number "
        "alone means seconds. It is saved at the end of a phase and when training is interrupted in any case.",
    )
    plots: bool = Field(True, description="Draw the curves and the confusion matrix.")
    every_epoch: bool = Field(
        False, description="Also keep the model of every epoch, as `checkpoints/phaseN_epochN.keras`."
    )
    report: bool = Field(True, description="Write `report.html`, everything about the run in one file.")


class RunConfig(Section):
    """A complete run."""

    name: str = Field("run", pattern=r"^[\w.-]+$", description="Name of the run (letters, digits, `_`, `.`, `-`).")
    seed: Annotated[int, BeforeValidator(_no_bool), Field(ge=0, lt=2**31)] = Field(
        0, description="Fixes splits, order, augmentation, initial weights and dropout."
    )
    backend: Literal["auto", "torch", "tensorflow", "jax"] = Field("auto", description="Keras backend.")
    device: Literal["auto", "cpu", "gpu", "mps"] = Field("auto", description="Where to compute.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="What training computes in; weights, logits and loss stay float32. `auto`: bfloat16 where it is faster.",
    )
    deterministic: bool = Field(
        False,
        description="Compute only by operations that give the same bits in every run, where a GPU has faster ones.",
    )
    data: DataConfig = Field(default_factory=DataConfig, description="The images.")
    model: ModelConfig = Field(default_factory=ModelConfig, description="The network.")
    phases: Annotated[list[Phase], Field(min_length=1)] | Auto = Field("auto", description="Stages of training.")
    callbacks: CallbacksConfig = Field(default_factory=CallbacksConfig, description="Callbacks.")
    output: OutputConfig = Field(default_factory=OutputConfig, description="Results.")

    # Overrides of single phases that wait until the phases themselves have been chosen from the data.
    _phase_overrides: list[tuple[list[str], Any]] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _phase_names_differ(self) -> RunConfig:
        if isinstance(self.phases, list):
            names = [phase.name for phase in self.phases]
            if len(set(names)) < len(names):
                raise ValueError(f"phases need different names, got {', '.join(names)}")
        return self
