"""k-fold cross-validation of a whole training, and one final model of all images.

Every image is predicted by a model that was trained without it, by the same procedure: choices that are made from the data are made anew
without each fold. Read :func:`cross_validate` from top to bottom.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer import runtime, text
from keras_transfer.arguments import checked
from keras_transfer.arguments.types import Backend, Device, Natural, Printer
from keras_transfer.config.load import dump
from keras_transfer.config.open_data import open_data, with_absolute_paths
from keras_transfer.config.schema import BACKBONE, VAL_FRACTION, RunConfig
from keras_transfer.data.dataset import Dataset, Split
from keras_transfer.data.split import assign
from keras_transfer.errors import UserError
from keras_transfer.evaluation.evaluate import metrics_of
from keras_transfer.evaluation.tasks import probabilities, thresholds_of
from keras_transfer.files import write_csv, write_json
from keras_transfer.policy.procedure import LARGE
from keras_transfer.runs import RunDirectory
from keras_transfer.runs.directory import FOLDS
from keras_transfer.solved.folds import folds_of
from keras_transfer.training.train import resume_run, train
from keras_transfer.typing import Say

PLAN, FIGURES, PREDICTIONS = "plan.json", "cross_validation.json", "predictions.csv"


@dataclass(frozen=True)
class CrossValidated:
    """What the models of the folds predicted, and the final model.

    Attributes:
        run: of the final model, which is trained on all images but those that the data hold for testing.
        folds: the metrics of each fold, as :meth:`Classifier.evaluate` returns them.
        mean: of each figure over the folds.
        spread: standard deviation of each figure over the folds.
        together: metrics of the predictions of all folds together.
        predictions: CSV file with a row for each image: its label, its fold, and what the model without it predicted.
    """

    run: RunDirectory
    folds: tuple[dict[str, Any], ...]
    mean: dict[str, float]
    spread: dict[str, float]
    together: dict[str, Any]
    predictions: Path

    def __str__(self) -> str:
        shown = ("accuracy", "mean_average_precision", "balanced_accuracy", "macro_f1", "log_loss")
        figures = [f"{name} {self.mean[name]:.4f} ± {self.spread[name]:.4f}" for name in shown if name in self.mean]
        return f"{len(self.folds)} folds, mean ± standard deviation: {', '.join(figures)}"


@checked
def cross_validate(
    config: RunConfig,
    *,
    folds: Natural = 5,
    backend: Backend | None = None,
    device: Device | None = None,
    say: Printer = text.say,
) -> CrossValidated:
    """Train once without each fold, judge by it, and train a final model on everything.

    Folds are stratified; groups and near duplicates are in one fold. Images that the data hold for testing are in none, and test the final
    model. The runs of the folds are in ``folds/`` of its run directory, beside ``cross_validation.json`` and ``predictions.csv``. If it
    is stopped, the same call goes on with the fold that it was in.

    Args:
        config: of the final run; ``data.test_fraction`` is not used, as every image tests once.
        folds: how many, at least 2; fewer are made if the smallest class has fewer images.
        backend: overrides ``KERAS_BACKEND`` and the configuration.
        device: overrides the configuration.
        say: prints a line.

    Raises:
        UserError: fewer than two folds, too few images, or anything that training refuses.
    """
    if folds < 2:
        raise UserError(f"folds: expected at least 2, got {folds}")
    config = with_absolute_paths(config)
    RunDirectory.refuse_existing(config.output.dir)
    data = _pool(config)
    choice = runtime.choose_backend(backend, config.backend)
    runtime.activate(choice.value, device or config.device, config.deterministic)
    run = RunDirectory.create(config.output.dir, config.name)
    config = _with(config, output={"dir": str(run.path.absolute())})
    work = run.path / FOLDS
    numbers = _planned(config, data, folds, work, say)
    found, logits = [], np.zeros((len(numbers), len(data.classes)), np.float32)
    limits = np.zeros_like(logits)
    for number, table in enumerate(_tables(config, data, numbers), 1):
        say(f"fold {number} of {numbers.max() + 1}")
        write_json(work / f"{number}.json", table)
        done = _trained(_of_fold(config, work, number), backend, device, say)
        held = np.flatnonzero(numbers == number - 1)
        logits[held], limits[held] = _judged(done, data.train.take(held), backend, device)
        found.append(metrics_of(logits[held], data.train.take(held), limits[held[0]].tolist()))
    mean, spread = _summary(found)
    together = metrics_of(logits, data.train)
    figures = {"folds": found, "mean": mean, "spread": spread, "together": together}
    write_json(work / FIGURES, figures)
    _write_predictions(work / PREDICTIONS, data.train, numbers, logits, limits)
    write_json(work / "final.json", _final_table(config, data))
    say("final model, of all images")
    last = train(_with(config, data={"splits": str(work / "final.json")}), backend=backend, device=device, say=say)
    last.write_json(
        last.metrics, {**last.read_json(last.metrics), "cross_validation": {"mean": mean, "spread": spread}}
    )
    made = CrossValidated(last, tuple(found), mean, spread, together, work / PREDICTIONS)
    say(f"{made}; predictions: {made.predictions}")
    return made


def _pool(config: RunConfig) -> Dataset:
    """Return the data with all images in training but those that they hold for testing themselves."""
    data = open_data(_with(config, data={"test_fraction": 0.0, "val_fraction": 0.0}))
    split = np.where(data.samples.split == "test", "test", "train").astype(object)
    return replace(data, samples=replace(data.samples, split=split))


def _with(config: RunConfig, **sections: dict[str, Any]) -> RunConfig:
    """Return the configuration with other values in some sections."""
    changed = {name: getattr(config, name).model_copy(update=values) for name, values in sections.items()}
    return config.model_copy(update=changed)


def _planned(config: RunConfig, data: Dataset, folds: int, work: Path, say: Say) -> np.ndarray:
    """Return the fold of each image, int64 (n,): those of the plan in the folder, if it goes on."""
    file, plan = work / PLAN, {"config": dump(config), "data": data.fingerprint, "folds": folds}
    run = RunDirectory(work)
    if file.is_file():
        stored = run.read_json(file)
        if {key: stored.get(key) for key in plan} != plan:
            raise UserError(
                f"{work} has folds of other settings or data; give the same command again, or --output another name"
            )
        say(f"going on with the folds in {work}")
        return np.array(stored["numbers"], np.int64)
    split = data.train
    numbers = folds_of(split.labels, _features(config, data, say), split.groups, folds)[0]
    if numbers.max() + 1 < folds:
        say(
            f"{numbers.max() + 1} folds, as the smallest class has too few images that do not belong together for {folds}"
        )
    work.mkdir(exist_ok=True)
    write_json(file, {**plan, "numbers": numbers.tolist()})
    return np.asarray(numbers)


def _features(config: RunConfig, data: Dataset, say: Say) -> np.ndarray:
    """Return features that near duplicates are recognized by, float32 (n, d)."""
    from keras_transfer.data.augment import Transform
    from keras_transfer.data.loading.loader import Loader
    from keras_transfer.engine.features import FeatureSettings, FrozenFeatures
    from keras_transfer.engine.numbers import unpack
    from keras_transfer.engine.prefix import cut_below
    from keras_transfer.models.backbones import get
    from keras_transfer.models.classifier import build_classifier
    from keras_transfer.models.layer_names import LOGITS

    runtime.hide_progress_bars()
    name = BACKBONE if config.model.backbone == "auto" else config.model.backbone
    size = data.image_size or (get(name).image_size,) * 2
    channels = 1 if data.color == "grey" else 3
    model = build_classifier(name, len(data.classes), image_size=size, channels=channels, weights=config.model.weights)
    cut = cut_below(model, LOGITS)
    assert cut is not None
    with Loader(data.train, Transform(size, [], resize=data.resize, color=data.color), 32) as loader:
        rows = unpack(FrozenFeatures(cut, FeatureSettings(), say).of(loader))
    return np.asarray(rows.reshape(len(data.train), -1))


def _tables(config: RunConfig, data: Dataset, numbers: np.ndarray) -> Iterator[dict[str, str]]:
    """Yield the splits for each fold: it tests, and some of the others validate where the configuration says so."""
    pool = data.samples.take(data.train.indices)
    for number in range(int(numbers.max()) + 1):
        split = np.where(numbers == number, "test", "").astype(object)
        found = assign(replace(pool, split=split), _val_fraction(config, int((split == "").sum())), 0.0, config.seed)
        yield dict(zip(found.names(), found.split.tolist()))


def _final_table(config: RunConfig, data: Dataset) -> dict[str, str]:
    """Return the splits for the final model, which is tested on what the data hold for testing."""
    split = np.where(data.samples.split == "test", "test", "").astype(object)
    samples = replace(data.samples, split=split)
    found = assign(samples, _val_fraction(config, int((split == "").sum())), 0.0, config.seed)
    return dict(zip(found.names(), found.split.tolist()))


def _val_fraction(config: RunConfig, count: int) -> float:
    """Return the share that validates: of very many images, the automatic procedure needs one."""
    many = config.data.val_fraction == "auto" and config.is_automatic and count > LARGE
    return VAL_FRACTION if many else config.val_fraction


def _of_fold(config: RunConfig, work: Path, number: int) -> RunConfig:
    folder = str((work / str(number)).absolute())
    return _with(
        config,
        data={"splits": str((work / f"{number}.json").absolute())},
        output={"dir": folder, "report": False, "plots": False},
    )


def _trained(config: RunConfig, backend: str | None, device: str | None, say: Say) -> RunDirectory:
    """Return the run of a fold: finished before, resumed, or new."""
    from keras_transfer.training.faults import free_memory

    assert config.output.dir is not None
    run = RunDirectory(config.output.dir)
    if run.is_finished():
        return run
    resume = resume_run(run.path) if run.config.is_file() else None
    given = config if resume is None else resume.read_config()
    done = train(given, backend=backend, device=device, resume=resume, say=say)
    free_memory()
    return done


def _judged(run: RunDirectory, split: Split, backend: str | None, device: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits of the images of a fold by the model without it, float32 (n, C), and the thresholds of several labels, (C,)."""
    from keras_transfer.evaluation.evaluate import predict_logits
    from keras_transfer.inference import start, transform_of

    model, metadata, _ = start(run.path, backend, device)
    return predict_logits(model, split.at_depth(metadata.get("depth")), transform_of(metadata)), thresholds_of(metadata)


def _summary(found: Sequence[dict[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return mean and standard deviation of the figures that every fold has."""
    columns = {
        name: [one[name] for one in found]
        for name, value in found[0].items()
        if isinstance(value, float) and all(isinstance(one.get(name), float) for one in found)
    }
    mean = {name: statistics.fmean(values) for name, values in columns.items()}
    return mean, {name: statistics.stdev(values) for name, values in columns.items()}


def _write_predictions(path: Path, split: Split, numbers: np.ndarray, logits: np.ndarray, limits: np.ndarray) -> None:
    """Write a row for each image, in the order of the data."""
    shares = probabilities(logits, split.is_multi)
    word, columns = ("labels" if split.is_multi else "label"), [f"probability {name}" for name in split.classes]

    def row(i: int) -> dict[str, Any]:
        found = np.flatnonzero(shares[i] >= limits[i]) if split.is_multi else [int(shares[i].argmax())]
        return {
            "path": split.image_name(i),
            word: ";".join(split.names_of(i)),
            "predicted": ";".join(split.classes[k] for k in found),
            "fold": int(numbers[i]) + 1,
            **{name: f"{share:.6g}" for name, share in zip(columns, shares[i])},
        }

    write_csv(path, map(row, range(len(split))), ["path", word, "predicted", "fold", *columns])
