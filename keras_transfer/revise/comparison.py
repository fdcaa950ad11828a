"""The old and the new run of a model on the same pictures, and the report of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer import text
from keras_transfer.data.dataset import Dataset, Split
from keras_transfer.errors import UserError
from keras_transfer.evaluation.evaluate import predict_logits
from keras_transfer.evaluation.tasks import is_multi, probabilities, thresholds_of
from keras_transfer.files import write_json, write_text
from keras_transfer.formatting import share
from keras_transfer.inference import data_of, find_model, images_of, start, transform_of
from keras_transfer.models.layer_names import LOGITS
from keras_transfer.revise.label_regression import LabelOpinion, label_regression
from keras_transfer.revise.regression import Opinion, Regression, regression, renamed
from keras_transfer.revise.render import render
from keras_transfer.revise.revision import pixels_digest
from keras_transfer.runs import RunDirectory
from keras_transfer.runs.directory import REVISED
from keras_transfer.typing import Say

REPORT, FIGURES, REVISION = "regression.html", "regression.json", "revision.json"
Loaded = tuple[Any, dict[str, Any]]
"""A model and its metadata."""
OUT_OF_FOLD = "out-of-fold"


@dataclass(frozen=True)
class SameNetwork:
    """Two models that differ in their last layer only.

    Attributes:
        models: the old one and the new one, with their metadata. Both give a picture one label, or both several.
        features: of all pictures of ``"val"`` and ``"test"`` before the last layer, float32 (n, d): computed once, they serve both.
    """

    models: tuple[Loaded, Loaded]
    features: Mapping[str, np.ndarray]

    def probabilities(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Return what the models say of some pictures of ``"val"`` or ``"test"``, float64 (n, C) each."""
        places = np.flatnonzero(split.samples.split == split.name)
        rows = self.features[split.name][np.searchsorted(places, split.indices)]
        old, new = (probabilities(last_layer(model, rows), is_multi(metadata)) for model, metadata in self.models)
        return old, new


@dataclass(frozen=True)
class Comparison:
    """What both models say, and of which pictures.

    Attributes:
        found: the comparison.
        old, new: the runs or model files.
        split: the pictures.
        kind: ``"test"``, ``"val"`` or ``"out-of-fold"``.
        notes: what was done to the data, and what was left out, one line each.
    """

    found: Regression
    old: Path
    new: Path
    split: Split
    kind: str
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        about = {"old": str(self.old), "new": str(self.new), "judged_by": self.kind, "notes": list(self.notes)}
        return {**about, **self.found.as_json()}


def compare_runs(
    old: str | Path,
    new: str | Path,
    *,
    data: str | None = None,
    output: str | Path | None = None,
    backend: str | None = None,
    device: str | None = None,
    same: SameNetwork | None = None,
    say: Say = text.say,
) -> Comparison:
    """Compare two models on pictures that neither was trained on, and write ``regression.html`` and ``regression.json``.

    Args:
        old: run directory or model file.
        new: run directory or model file.
        data: other pictures to compare them on; by default the test pictures of the new run, without them its validation
            pictures, without those the training pictures by out-of-fold predictions.
        output: folder for both files; by default the new run.
        backend: Keras backend.
        device: where to compute.
        same: both models, where they differ in their last layer only.
        say: prints a line.

    Raises:
        UserError: no such run, classes that do not fit each other, or nothing to compare on.
    """
    (_, old_run), (new_file, new_run) = find_model(old), find_model(new)
    first, second = same.models if same else (start(old, backend, device)[:2], start(new, backend, device)[:2])
    several = is_multi(second[1])
    if is_multi(first[1]) is not several:
        raise UserError(f"{old} and {new} do not compare: only one of them gives a picture several labels")
    known = _revision(new_run)
    names = renamed(first[1]["classes"], known.get("renamed", {}))
    if not set(names) & set(second[1]["classes"]):
        raise UserError(f"{old} and {new} have no class in common")
    notes = list(known.get("notes", []))
    if data is not None:
        split, kind = images_of(new_run, new, second[1], data, "test", say=notes.append), "test"
    else:
        split, kind = _judges(new_run, new)
    split, left = _unseen(split, [run for run in (old_run, new_run) if run is not None], kind)
    if left:
        notes.append(f"left out: {left} pictures that one of the models was trained on")
    if kind == OUT_OF_FOLD:
        assert new_run is not None
        split, opinions = _out_of_fold(old_run, new_run, split, names)
    elif same and data is None:
        opinions = same.probabilities(split)
    else:
        opinions = _probabilities(first, split), _probabilities(second, split)
    if several and not split.is_multi:
        raise UserError(f"{data or new}: expected pictures that may have several labels, got one class for each")
    found = _compare(split, names, opinions, (first[1], second[1]))
    made = Comparison(found, Path(old), Path(new), split, kind, tuple(notes))
    write(made, Path(output) if output is not None else new_file.parent)
    tell(made, say)
    return made


def _compare(
    split: Split,
    names: Sequence[str],
    opinions: tuple[np.ndarray, np.ndarray],
    metadata: tuple[dict[str, Any], dict[str, Any]],
) -> Regression:
    """Compare what two models say of pictures; ``names`` are the old one's classes, as the new one calls them."""
    pictures, labels = [split.image_name(i) for i in range(len(split))], [split.names_of(i) for i in range(len(split))]
    classes, (before, now) = metadata[1]["classes"], opinions
    if not is_multi(metadata[1]):
        return regression(pictures, [one[0] for one in labels], Opinion(names, before), Opinion(classes, now))
    old = LabelOpinion(names, before, thresholds_of(metadata[0]))
    return label_regression(pictures, labels, old, LabelOpinion(classes, now, thresholds_of(metadata[1])))


def write(made: Comparison, folder: Path) -> None:
    """Write the report and its figures into a folder."""
    write_json(folder / FIGURES, made.as_json())
    write_text(folder / REPORT, render(made.found, made.split, str(made.old), str(made.new), made.kind, made.notes))


def tell(made: Comparison, say: Say) -> None:
    """Print the comparison in a few lines."""
    found = made.found
    for note in made.notes:
        say(note)
    if found.n:
        low, high = found.interval
        what = ", all labels right:" if found.labels else ":"
        say(
            f"{made.kind}{what} {share(found.old_accuracy)} before, {share(found.new_accuracy)} now "
            f"(difference {100 * found.difference:+.1f}, 95 % interval {100 * low:+.1f} to {100 * high:+.1f} points)"
        )
    if found.mean_average_precision is not None:
        before, now = found.mean_average_precision
        say(f"mean average precision of the labels that both know: {before:.4f} before, {now:.4f} now")
    for title, answers in (("better", found.better), ("worse", found.worse)):
        for one in answers[:20]:
            say(f"{title}: {text.one_line(one.picture)} ({one.label}): {one.old} before, {one.new} now")
        if len(answers) > 20:
            say(f"{title}: {len(answers) - 20} more")
    for row in found.added:
        say(f"new class {text.one_line(row.name)}: {row.new} of {row.n} right")
    for change in found.labels:
        if change.better or change.worse:
            say(f"label {text.one_line(change.name)}: {change.better} better, {change.worse} worse")
        if change.old_precision is None and change.new_precision is not None:
            say(
                f"new label {text.one_line(change.name)}: average precision {change.new_precision:.4f}, on {change.n} pictures"
            )
    word = {"take": "take the new model", "leave": "keep the old model", "unknown": "undecided"}[found.verdict]
    say(f"verdict: {word}. {found.reason}")


def last_layer(model: Any, features: np.ndarray) -> np.ndarray:
    """Return the logits that the last layer of a model gives for features (n, d), float32 (n, C)."""
    kernel, bias = model.get_layer(LOGITS).get_weights()
    return np.asarray(features @ kernel + bias, np.float32)


def _revision(run: RunDirectory | None) -> dict[str, Any]:
    file = None if run is None else run.path / REVISED / REVISION
    if run is None or file is None or not file.is_file():
        return {}
    stored = run.read_json(file)
    return stored if isinstance(stored, dict) else {}


def _judges(run: RunDirectory | None, source: str | Path) -> tuple[Split, str]:
    if run is None:
        raise UserError(
            f"{source} is a model file without a run directory: name the pictures to compare on with --data"
        )
    data = data_of(run)
    if data is None:
        raise UserError(f"the data of {run.path} have changed; name the pictures to compare on with --data")
    if len(data.test):
        return data.test, "test"
    return (data.val, "val") if len(data.val) else (data.train, OUT_OF_FOLD)


def _unseen(split: Split, runs: Sequence[RunDirectory], kind: str) -> tuple[Split, int]:
    """Return the pictures that no run has trained on, by their content, and how many were left out."""
    if kind == OUT_OF_FOLD:
        return split, 0
    seen = {"test": ("train", "val"), "val": ("train",)}[kind]
    content = Dataset(split.samples).content
    if content is None:
        return split, 0
    bad = np.zeros(len(split), bool)
    for run in runs:
        was = run.split_of_content() or {}
        bad |= np.array([was.get(bytes(content[i]), "") in seen for i in split.indices], bool)
    return split.take(np.flatnonzero(~bad)), int(bad.sum())


def _probabilities(loaded: Loaded, split: Split) -> np.ndarray:
    """Return what a model says of pictures, whatever its classes are, float64 (n, C)."""
    model, metadata = loaded
    classes = tuple(map(str, metadata["classes"]))
    several = is_multi(metadata)
    labels = (
        np.zeros((len(split.samples), len(classes)), np.uint8) if several else np.zeros(len(split.samples), np.int64)
    )
    table = replace(split.samples, classes=classes, labels=labels)
    images = Split(split.name, table, split.indices).at_depth(metadata.get("depth"))
    return probabilities(predict_logits(model, images, transform_of(metadata)), several)


def _out_of_fold(
    old: RunDirectory | None, new: RunDirectory, split: Split, names: Sequence[str]
) -> tuple[Split, tuple[np.ndarray, np.ndarray]]:
    """Return the training pictures that both runs predicted out of fold, with the same label, and both predictions."""
    before, after = (None if run is None else run.read_out_of_fold() for run in (old, new))
    own = None if old is None else data_of(old)
    nothing = split.take([]), (np.zeros((0, len(names))), np.zeros((0, len(split.classes))))
    if before is None or after is None or own is None or len(own.train) != len(before[1]):
        return nothing
    called, shared = dict(zip(own.classes, names)), set(names) & set(split.classes)

    def key(one: Split, i: int) -> tuple[bytes, frozenset[str]]:
        """Identify a picture by its colours and its labels; of several, by those that both runs know."""
        labels = [called.get(name, name) if one is own_train else name for name in one.names_of(i)]
        known = shared.intersection(labels) if split.is_multi else labels
        return pixels_digest(one.samples.images, int(one.indices[i])), frozenset(known)

    own_train = own.train
    place = {key(own_train, i): i for i in range(len(own_train))}
    keys = [key(split, i) for i in range(len(split))]
    kept = [i for i, one in enumerate(keys) if one in place]
    rows = [place[keys[i]] for i in kept]
    return split.take(kept), (
        probabilities(before[0][rows], split.is_multi),
        probabilities(after[0][kept], split.is_multi),
    )
