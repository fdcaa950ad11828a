"""The schema of a run: every key with its type, default and meaning.

``auto`` stands for a value that is chosen from the data (:mod:`keras_transfer.policy.resolve`); the configuration kept with a run is
a :class:`~keras_transfer.config.resolved.ResolvedConfig`, which holds none. Configurations are immutable: change one with
``model_copy(update=...)`` or, by dotted keys, with :func:`keras_transfer.load_config`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from keras_transfer.arguments import Section
from keras_transfer.arguments.costs import Costs
from keras_transfer.arguments.names import WrittenNames
from keras_transfer.arguments.problems import short
from keras_transfer.arguments.types import (
    Auto,
    ClassWeights,
    Depth,
    Effort,
    Fraction,
    ImageSize,
    Natural,
    NonNegative,
    PathText,
    Positive,
    Rate,
    Seed,
    Share,
    Switch,
    number,
    ordered,
    plain,
)
from keras_transfer.config.interval import Interval
from keras_transfer.config.keras_objects import configuration, is_schedule, stored_optimizer, stored_schedule
from keras_transfer.errors import nearest, unknown
from keras_transfer.options import DROPOUT, BatchNorm, Color, Distribute, Pooling, Resize, Stem, last_groups

VAL_FRACTION = 0.15
LABEL_SMOOTHING = 0.1
BACKBONE = "efficientnet_lite0"


Place = Annotated[int, BeforeValidator(number), Field(ge=-1)]  # -1: the last


def _switch_or_name(value: Any) -> Any:
    value = plain(value)
    if isinstance(value, bool) or (isinstance(value, str) and value):
        return value
    raise ValueError(f"expected true, false or a name, got {value!r}")


SwitchOrName = Annotated[bool | str, BeforeValidator(_switch_or_name)]


def _interval(value: Any) -> Any:
    Interval.parse(value)
    return str(value)


def _list_or_word(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        raise ValueError(f"expected a list, which has an order, got a {type(value).__name__}")
    return value


def _names_in_order(value: Any) -> Any:
    return None if value is None else [str(plain(name)) for name in ordered(value)]


Every = Annotated[str, BeforeValidator(_interval)]
# Names, or Keras objects in the form in which they are stored; Python callers give the objects themselves.
Optimizer = Annotated[Any, BeforeValidator(stored_optimizer)]
Schedule = Annotated[Any, BeforeValidator(stored_schedule)]


class DatasetConfig(Section):
    """Which images there are and how they are split: the keys that :func:`keras_transfer.data.build` takes as arguments."""

    source: str = Field(
        "folder",
        description="Type of data source: `digits`, `folder`, `list`, `csv`, `arrays`, `idx`, `cifar10`, `cifar100`, `shards`, "
        "`parquet`, or one "
        "that another package adds.",
    )
    path: PathText | None = Field(
        None,
        description="Folder, archive, `.npz` or `.csv` file; or the address of shards, such as `s3://bucket/photos`.",
    )
    root: PathText | None = Field(None, description="Base folder of relative paths in a list or CSV file.")
    train: PathText | None = Field(None, description="List file of the training images, one `path label` per line.")
    val: PathText | None = Field(None, description="List file of the validation images.")
    test: PathText | None = Field(None, description="List file of the test images.")
    classes: WrittenNames = Field(None, description="Class names, or a text file with one per line.")
    shard_cache: NonNegative | None = Field(
        None,
        description="Size in GiB of the copies of remote shards that are kept on this machine (default: 20); data that do not fit are "
        "shuffled within as many shards as half of it holds.",
    )
    skip_damaged_shards: Switch | None = Field(
        None,
        description="Leave out the images of shards that are missing or damaged, with a warning, in place of an error.",
    )
    image_column: str | None = Field(None, description="Of Parquet files, the column of images.")
    label_column: str | None = Field(
        None,
        description="Of Parquet files, the column of labels; of shards that others wrote, what holds the label: an extension such as `cls`, "
        "or `json.FIELD`.",
    )
    labels: Literal["fine", "coarse"] | None = Field(None, description="Label set of `cifar100`.")
    image_size: ImageSize | Auto = Field("auto", description="Input size in pixels: one number or [height, width].")
    color: Color | Auto = Field("auto", description="Colour channels of the model's input.")
    resize: Resize = Field(
        "squash", description="How images of another aspect ratio are fitted: distort, crop, or pad."
    )
    val_fraction: Fraction | Auto = Field(
        "auto",
        description="Fraction of the images held out for validation, if there is no validation set; `auto`: 0 where phases are chosen "
        "by cross-validation on all training images, otherwise 0.15.",
    )
    test_fraction: Fraction = Field(
        0.15, description="Fraction of the images held out for testing, if there is no test set."
    )
    limit: Positive | None = Field(None, description="Maximum number of training and validation images.")
    limit_test: Positive | None = Field(None, description="Maximum number of test images.")
    on_bad_image: Literal["error", "skip"] = Field("error", description="What to do with unreadable images.")
    depth: Depth | None = Field(
        "auto",
        description="Values of 16-bit images that become 0 and 255: a number of bits (8 to 16), or [lowest, highest]; `auto`: as many bits "
        "as the training images use, or their own range if that is less than an eighth of it; `null`: 0 and 65535.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Further options of the source, by name: those of a source that another package adds.",
    )


class DataConfig(DatasetConfig):
    """The images and how they become batches."""

    splits: PathText | None = Field(
        None,
        description="A `splits.json` file, as every run has one: exactly these images are used, in these splits.",
    )
    unlabelled: PathText | None = Field(
        None,
        description="Folder of images without labels: a head that is solved learns from them too, by self-training, where out-of-fold "
        "predictions say that it helps. Images that the data have already are left out, recognized by their content.",
    )
    batch_size: Positive | Auto = Field("auto", description="Images per training step.")
    accumulate: Positive = Field(
        1,
        description="Number of micro-batches per training step, to save memory; the result is that of the whole batch.",
    )
    class_weights: ClassWeights | Auto = Field(
        "auto",
        description="Class weights in the loss: inverse class frequency (`balanced`), its square root (`sqrt`), or weights by class "
        "name, such as `{ants: 2.0}` (1 for classes that are not named).",
    )
    ordinal: Annotated[list[str] | None, BeforeValidator(_names_in_order)] = Field(
        None,
        description="The classes from lowest to highest, if they have an order: mistakes then also count by their distance (quadratic kappa).",
    )
    augment: Annotated[list[str | dict[str, Any]] | Auto, BeforeValidator(_list_or_word)] = Field(
        "auto", description="Augmentations, by name or with parameters."
    )
    workers: Natural | Auto = Field(
        "auto", description="Number of threads that decode and augment images; 0: none, the training thread does it."
    )
    image_memory: NonNegative | Auto = Field(
        "auto",
        description="Memory in GiB for decoded training images, which later epochs then need not decode again; `auto`: a quarter of what is free; 0: none.",
    )
    cache: Literal["auto", "off", "memory", "disk"] = Field(
        "auto",
        description="Where features of frozen layers are cached; `auto`: on disk, for later runs too, otherwise in "
        "memory; `off`: they are recomputed in every epoch.",
    )
    cache_limit: NonNegative = Field(
        20.0,
        description="Maximum size in GiB of all cached features on disk; the least recently used are removed first.",
    )
    cache_precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Precision in which features are computed and stored; `auto`: as `precision`; if that is `auto` "
        "too, bfloat16 where training uses it, or where the CPU supports it and OpenVINO is installed.",
    )
    views: Natural | Auto = Field(
        "auto",
        description="Number of augmented views per image whose features are cached in augmented phases with frozen "
        "layers; each epoch uses one of them. 0: images are augmented anew in every epoch, and nothing "
        "is cached.",
    )


class ModelConfig(Section):
    """The network: a pretrained backbone and a new head."""

    backbone: str = Field(
        "auto",
        description="Name of the backbone; `hf:ORG/NAME`, `timm:NAME` or the path of a folder for a checkpoint of Hugging Face or timm; "
        "`hub:NAME` for a keras-hub preset; several names joined by `+` for a head on the "
        "features of all; `auto`: with automatic phases the best of those whose weights are installed, otherwise "
        "`efficientnet_lite0`.",
    )
    weights: str = Field("imagenet", description="`imagenet`, `none`, or the path of a weights file.")
    stem: Stem = Field(
        "keep",
        description="The first layers: `keep` leaves them unchanged; `small_image` keeps the centre of the first "
        "convolution's kernel and removes its downsampling; `one_channel` takes single-channel images.",
    )
    zero_init_residual: Switch = Field(
        False,
        description="With random weights (`weights: none`; otherwise without effect): residual branches begin at 0, so that a deep network begins "
        "as a shallow one and bears higher learning rates (Goyal et al. 2017).",
    )
    pooling: Pooling = Field("avg", description="Global pooling between backbone and head.")
    taps: Natural | Auto = Field(
        "auto",
        description="0: the head reads the pooled last feature map; from 1 on: at most that many feature maps, from the last to earlier ones, "
        "normalized and joined; `auto`: chosen by cross-validation with automatic phases, otherwise 0.",
    )
    dropout: Fraction = Field(DROPOUT, description="Dropout rate before the logits.")
    native: Switch = Field(
        True,
        description="On torch, and on jax on a CPU, use faster operations than Keras's own; the results are the same.",
    )
    loss: Literal["asymmetric"] | None = Field(
        None,
        description="Loss of training by gradient descent: `null`: cross-entropy, which is binary for each label where images may have "
        "several; `asymmetric`, for those only: labels that an image lacks count less the surer the model is (Ridnik et al. 2021).",
    )
    label_smoothing: Fraction | Auto = Field(
        "auto",
        description="Label smoothing: probability spread evenly over all classes; `auto`: 0 with automatic phases, for calibrated "
        "probabilities, otherwise 0.1.",
    )


class Phase(Section):
    """One stage of training: what trains, for how long, and at which rate.

    Args:
        name: the phase's name; ``"head"`` and ``"all"`` also say what is trained unless ``train`` does.

    Examples:
        >>> phase = kt.Phase("top", train="last 2 groups", epochs=3, learning_rate=1e-4, schedule="cosine")
        >>> phase.train, phase.optimizer
        ('last 2 groups', 'adamw')
    """

    _in_front: ClassVar[str] = "name"

    name: str = Field(min_length=1, description="Name of the phase.")
    epochs: Positive = Field(5, description="Maximum number of epochs.")
    train: Annotated[str | list[str], BeforeValidator(_list_or_word)] = Field(
        "",
        description="What trains: `head`, `all`, `last N groups`, or patterns of layer names; default: the name of "
        "the phase.",
    )
    solver: Literal["gradient", "exact"] = Field(
        "gradient",
        description="How the phase trains: by `gradient` descent, or, for the last layer alone, by solving for its optimum "
        "(`exact`): one epoch, without augmentation, optimizer and learning rate.",
    )
    strength: Rate | Auto | None = Field(
        None,
        description="L2 regularization of an `exact` head; `auto`, its default: the one that predicts the training "
        "images best in cross-validation.",
    )
    folds: Natural = Field(
        0,
        description="From 2 on: the phase has to earn its place. It trains once without each of that many parts of the images, which judge "
        "it; the result is the mean of these trainings, or the model from before if they are no better. With validation images: it trains "
        "once, and they judge.",
    )
    rounds: Positive | None = Field(
        None,
        description="With folds: how many of them are left out in turn; the mean of so many trainings is kept. Default: all.",
    )
    refit: bool = Field(
        False,
        description="With folds: once they have spoken for it, train again, on all images, and keep that instead of the mean.",
    )
    lora: Positive | None = Field(
        None,
        description="Rank of low-rank adapters (Hu et al., 2021), which train in place of the backbone's `Dense` and `EinsumDense` layers "
        "that `train` names, with the head; of the backbone, nothing else trains. Merged into the weights at the end. For transformers and "
        "ConvNeXt; typical: 4 to 16, with ten times the learning rate.",
    )
    learning_rate: Rate | Auto = Field(
        1e-3, description="Initial or peak learning rate; `auto`: found with a range test when the phase begins."
    )
    optimizer: Optimizer = Field(
        "adamw",
        description="Optimizer: `adamw`, `adam`, `sgd`, or another of Keras by name; or `class_name` and `config`, as Keras serializes "
        "it, which then has its own learning rate unless `learning_rate` is set.",
    )
    momentum: Fraction = Field(0.9, description="Momentum of `sgd`.")
    nesterov: Switch = Field(False, description="Whether the momentum of `sgd` is Nesterov's (Sutskever et al., 2013).")
    weight_decay: NonNegative = Field(
        0.0, description="Decoupled weight decay; biases and normalization weights are exempt."
    )
    schedule: Schedule = Field(
        "plateau",
        description="Learning-rate schedule: `plateau` reduces the rate when validation stalls; `constant`, `cosine`, `one_cycle`; or "
        "`class_name` and `config` of one of Keras's, which replaces `learning_rate`.",
    )
    warmup_epochs: NonNegative = Field(0.0, description="Epochs of linear warm-up (not with `plateau`).")
    batch_norm: BatchNorm | Auto = Field(
        "auto",
        description="Whether the backbone's BatchNormalization layers stay frozen or train with the layers around "
        "them; `auto`: frozen for pretrained weights.",
    )
    image_size: ImageSize | None = Field(
        None,
        description="Size that the phase trains at, if not `data.image_size`, at which images are validated and predicted. A smaller one "
        "takes less time, and crops show things larger than whole images do (Touvron et al., 2019).",
    )
    augment: Switch = Field(
        True, description="Whether training images are augmented; if not, frozen layers are computed only once."
    )
    clip_norm: Rate | None = Field(None, description="Maximum global gradient norm; `null`: no clipping.")
    group_decay: Annotated[float, BeforeValidator(number), Field(gt=0, le=1)] = Field(
        1.0,
        description="Learning-rate factor from each layer group to the one before it; the head has the full rate.",
    )
    average: Literal["none", "ema", "swa"] = Field(
        "none",
        description="Weight averaging; the averages are validated and kept in place of the weights: `ema`, an "
        "exponential moving average over the steps; `swa`, the mean over the ends of the epochs.",
    )
    ema_momentum: Fraction = Field(0.99, description="Momentum of `ema`.")

    @property
    def rate(self) -> float:
        """The learning rate of a phase that has one already."""
        assert self.learning_rate != "auto"
        return self.learning_rate

    @property
    def passes(self) -> float:
        """How often the phase goes through the training images, at most; 0 where the head is solved."""
        if self.solver == "exact":
            return 0.0
        if not self.folds:
            return float(self.epochs)
        return self.epochs * ((self.rounds or self.folds) * (1 - 1 / self.folds) + self.refit)

    if TYPE_CHECKING:

        def __init__(self, name: str | None = None, /, **values: Any): ...

    @model_validator(mode="before")
    @classmethod
    def _schedule_as_rate(cls, values: Any) -> Any:
        """Take a Keras schedule for ``learning_rate``, as Keras's optimizers do."""
        if not isinstance(values, dict) or not is_schedule(values.get("learning_rate")):
            return values
        if "schedule" in values:
            raise ValueError("learning_rate is a schedule already; leave out schedule")
        rest = {key: value for key, value in values.items() if key != "learning_rate"}
        return {**rest, "schedule": values["learning_rate"]}

    @field_validator("train")
    @classmethod
    def _known_form(cls, value: str | list[str]) -> str | list[str]:
        if isinstance(value, list) and not value:
            raise ValueError("expected at least one pattern")
        if isinstance(value, str) and value and value not in ("head", "all") and last_groups(value) is None:
            raise ValueError(f"expected head, all, 'last N groups' or a list of layer-name patterns, got {value!r}")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Phase:
        if not self.train:
            if self.name not in ("head", "all") and last_groups(self.name) is None:
                raise ValueError(f"phase {self.name!r} needs 'train' (head, all, 'last N groups' or patterns)")
            self.__dict__["train"] = self.name
        if self.solver == "exact":
            self._complete_exact()
        elif self.strength is not None:
            raise ValueError("strength needs solver: exact")
        if self.rounds is not None and self.rounds > self.folds:
            raise ValueError(f"rounds: expected at most the number of folds, {self.folds}, got {self.rounds}")
        if self.nesterov and self.optimizer != "sgd":
            raise ValueError(f"nesterov needs optimizer sgd, got {self.optimizer}")
        if self.lora is not None and (self.solver == "exact" or self.folds):
            raise ValueError(
                f"lora needs solver gradient without folds, got {'folds' if self.folds else 'solver exact'}"
            )
        if self.refit and not self.folds:
            raise ValueError("refit needs folds, which say whether training helps")
        if self.folds:
            self._complete_folded()
        if isinstance(self.optimizer, dict):
            self._complete_optimizer(self.optimizer)
        if isinstance(self.schedule, dict) and self.warmup_epochs:
            raise ValueError("warmup_epochs needs schedule constant, cosine or one_cycle, not one of Keras's")
        if self.schedule == "plateau" and self.warmup_epochs:
            raise ValueError("warmup_epochs needs schedule constant, cosine or one_cycle, not plateau")
        return self

    def _complete_optimizer(self, optimizer: dict[str, Any]) -> None:
        """Take the learning rate of a Keras optimizer, unless the phase has its own."""
        rate = configuration(optimizer).get("learning_rate")
        if "learning_rate" in self.model_fields_set or rate is None:
            return
        if isinstance(rate, dict):
            self.__dict__["schedule"] = rate
        else:
            self.__dict__["learning_rate"] = float(rate)

    def _complete_folded(self) -> None:
        """Settle what a phase needs that is judged when it has ended."""
        if self.folds < 2:
            raise ValueError(f"folds: expected 0, or at least 2, got {self.folds}")
        if self.solver != "gradient":
            raise ValueError("folds needs solver gradient; solver exact has folds of its own")
        if self.learning_rate == "auto":
            raise ValueError("folds needs a learning_rate, got auto")
        if self.average != "none":
            raise ValueError(f"folds averages the weights itself, got average {self.average}")
        if self.schedule == "plateau":
            if "schedule" in self.model_fields_set:
                raise ValueError("folds needs schedule constant, cosine or one_cycle, got plateau")
            self.__dict__["schedule"] = "cosine"

    def _complete_exact(self) -> None:
        """Settle the keys that have only one sensible value where the head is solved."""
        if self.image_size is not None:
            raise ValueError(f"solver exact takes images of data.image_size, got image_size {self.image_size}")
        if "epochs" in self.model_fields_set and self.epochs != 1:
            raise ValueError(f"solver exact takes 1 epoch, got epochs {self.epochs}")
        if self.average != "none":
            raise ValueError(f"solver exact has no steps to average over, got average {self.average}")
        self.__dict__.update(epochs=1, augment=False, strength=self.strength or "auto")


def _phase_keys(value: dict[str, Any]) -> dict[str, Any]:
    for key in value:
        if key not in Phase.model_fields:
            raise ValueError(str(unknown("key", key, Phase.model_fields)))
        _check_value(key, value[key])
    return value


def _check_value(key: str, value: Any) -> None:
    """Check the value of a phase's key by itself: the other keys are not known yet."""
    field = Phase.model_fields[key]
    kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        words = [item["msg"].removeprefix("Value error, ") for item in error.errors()]
        words = [word for word in words if word != "Input should be 'auto'"] or words
        raise ValueError(f"{key}: {words[0][0].lower()}{words[0][1:]}, got {value!r}"[:200]) from None


PhaseChanges = Annotated[dict[str, Any], AfterValidator(_phase_keys)]
"""Keys of a phase with other values than those chosen from the data."""


def _phases(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Phase):
        return [value]
    if isinstance(value, Mapping):
        raise ValueError("expected a list of phases, got one: put it in brackets, [Phase(…)]")
    phases = ordered(value)
    if not phases:
        raise ValueError("expected at least one phase, got an empty list; None chooses them")
    for one in phases:
        if not isinstance(one, (Phase, Mapping)):
            raise ValueError(f"expected phases, got {short(one)}")
    return phases


def _differ(phases: Sequence[Phase] | None) -> Sequence[Phase] | None:
    names = [phase.name for phase in phases or ()]
    if len(set(names)) < len(names):
        raise ValueError(f"phases need different names, got {', '.join(names)}")
    return phases


if TYPE_CHECKING:
    Phases = Sequence[Phase] | Phase | None
else:
    Phases = Annotated[list[Phase] | None, BeforeValidator(_phases), AfterValidator(_differ)]
"""Phases in order, or a single one; it arrives as a list. None: those of the default."""


class ReduceLROnPlateauConfig(Section):
    """Keras's ReduceLROnPlateau, for phases with the schedule `plateau`."""

    factor: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="Factor by which the learning rate is multiplied."
    )
    patience: Positive = Field(2, description="Epochs without improvement before the rate is reduced.")
    min_lr: NonNegative = Field(1e-6, description="Lower bound of the learning rate.")


class EarlyStoppingConfig(Section):
    """Keras's EarlyStopping, for phases with the schedule `plateau` or `constant`; others run to their end."""

    patience: Positive = Field(8, description="Epochs without improvement before the phase ends.")
    min_delta: NonNegative = Field(0.0, description="Minimum change that counts as an improvement.")


class CallbacksConfig(Section):
    """Callbacks of all phases."""

    monitor: Literal["val_loss", "val_accuracy"] = Field(
        "val_loss", description="Metric that selects the best model, reduces the learning rate and stops early."
    )
    reduce_lr: ReduceLROnPlateauConfig = Field(
        default_factory=ReduceLROnPlateauConfig, description="Settings of ReduceLROnPlateau."
    )
    early_stopping: EarlyStoppingConfig | None = Field(
        default_factory=EarlyStoppingConfig, description="Settings of EarlyStopping; `null` turns it off."
    )
    tensorboard: Switch = Field(False, description="Write TensorBoard logs into the run directory.")
    mlflow: SwitchOrName = Field(
        False,
        description="Log to MLflow: `true`, or the name of an experiment; default name: `MLFLOW_EXPERIMENT_NAME`, "
        "else `name`.",
    )
    wandb: SwitchOrName = Field(
        False,
        description="Log to Weights & Biases: `true`, or the name of a project; default name: `WANDB_PROJECT`, else "
        "`name`.",
    )


class OutputConfig(Section):
    """What is written to the run directory."""

    dir: str | None = Field(None, description="Run directory; default: `runs/NAME-DATE-TIME`.")
    save_every: Every = Field(
        "1 minute",
        description="How often the state for resuming is saved: `90 seconds`, `2 minutes`, `100 steps`, `1 epoch`; a"
        " bare number means seconds. It is also saved at the end of each phase and on interruption.",
    )
    plots: Switch = Field(True, description="Plot the training curves and the confusion matrix.")
    every_epoch: Switch = Field(
        False, description="Keep the model of every epoch as `checkpoints/phaseN_epochNNN.keras`."
    )
    report: Switch = Field(True, description="Write `report.html`, a self-contained page about the run.")


class RunConfig(Section):
    """A complete run.

    Examples:
        >>> config = kt.RunConfig.model_validate({"data": {"path": "photos"}, "model": {"backbone": "resnet50"}})
        >>> config.model.backbone, config.seed
        ('resnet50', 0)
    """

    name: str = Field("run", pattern=r"^[\w.-]+$", description="Name of the run (letters, digits, `_`, `.`, `-`).")
    seed: Seed = Field(0, description="Seed for splits, order, augmentation, initial weights and dropout.")
    backend: Literal["auto", "torch", "tensorflow", "jax"] = Field("auto", description="Keras backend.")
    device: Literal["auto", "cpu", "gpu", "mps"] = Field("auto", description="Device to compute on.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Precision of the training computation; weights, logits and loss stay float32. `auto`: bfloat16 "
        "where it was measured to be faster.",
    )
    distribute: Distribute = Field(
        "auto",
        description="Whether several processes or devices train together, each on its share of every batch of `data.batch_size`: `none`, "
        "`data_parallel`, or `auto`: as the process was started (`--processes`, torchrun), see scaling.md.",
    )
    deterministic: Switch = Field(
        False,
        description="Use only deterministic operations, so that every run gives the same bits; slower on a GPU.",
    )
    effort: Effort = Field(
        "standard",
        description="How much is tried where phases are automatic: `quick` solves a head on one backbone in seconds; `standard` also "
        "compares backbones and fine-tunes where that fits into about a minute for a few hundred images; `best` takes the time "
        "that it needs; a number: minutes for fine-tuning.",
    )
    reject_rate: Share | None = Field(
        None,
        description="Recognize images of none of the classes: the share of images of the known classes that may be rejected by mistake, "
        "such as 0.05. The model file then has a second output, `novelty`, above 0 for such images. `null`: every image gets a class.",
    )
    costs: Costs = Field(
        None,
        description="What mistakes cost: a `.csv` file with a line for each true class and a column for each predicted one, or true class → "
        "predicted class → cost (1 where left out). Decisions are then by the lowest expected cost.",
    )
    data: DataConfig = Field(default_factory=DataConfig, description="The images.")
    model: ModelConfig = Field(default_factory=ModelConfig, description="The network.")
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)] | dict[Place, PhaseChanges] | Auto = Field(
        "auto",
        description="Training phases, in order.",
    )
    callbacks: CallbacksConfig = Field(default_factory=CallbacksConfig, description="Callbacks of all phases.")
    output: OutputConfig = Field(default_factory=OutputConfig, description="What is written to the run directory.")

    @property
    def is_automatic(self) -> bool:
        """Whether the phases are chosen by evidence: they are not given, and there are pretrained weights to start from."""
        return not isinstance(self.phases, tuple) and self.model.weights != "none"

    @property
    def val_fraction(self) -> float:
        """Fraction of the images held out for validation, if there is no validation set."""
        given = self.data.val_fraction
        return given if given != "auto" else 0.0 if self.is_automatic else VAL_FRACTION

    @field_validator("phases", mode="before")
    @classmethod
    def _form_of_phases(cls, value: Any) -> Any:
        """Say which forms there are, which a message about each of them would not."""
        forms = "expected a list of phases, auto, or numbers of phases (from 0; -1: the last) with the keys to change"
        if isinstance(value, dict):
            wrong = [key for key in value if not (str(key).isdecimal() or str(key) == "-1")]
            if wrong:
                raise ValueError(f"{forms}, got the key {wrong[0]!r}")
            return value or "auto"
        if not isinstance(value, (list, tuple)) and value != "auto":
            raise ValueError(f"{forms}{nearest(str(value), ['auto'])}, got {value!r}"[:200])
        return value

    @model_validator(mode="after")
    def _phase_names_differ(self) -> RunConfig:
        if isinstance(self.phases, tuple):
            _differ(self.phases)
        return self

    @model_validator(mode="after")
    def _quick_has_no_fine_tuning(self) -> RunConfig:
        changes = self.phases.get(-1, {}) if isinstance(self.phases, dict) else {}
        asked = [key for key in ("epochs", "learning_rate") if key in changes]
        if asked and self.effort == "quick" and self.is_automatic:
            raise ValueError(
                f"effort quick leaves out fine-tuning, whose {' and '.join(asked)} are set: leave out one or the other"
            )
        return self
