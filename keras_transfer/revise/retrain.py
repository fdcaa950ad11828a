"""Train a model again with pictures that were added to its data."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from keras_transfer import text
from keras_transfer.arguments import checked
from keras_transfer.arguments.types import AnyPath, Backend, Device, Names, Printer, Switch
from keras_transfer.config.open_data import open_data
from keras_transfer.config.schema import RunConfig
from keras_transfer.data.dataset import Dataset
from keras_transfer.errors import UserError
from keras_transfer.files import write_json
from keras_transfer.inference import data_of, start_backend
from keras_transfer.revise.additions import corrections, more_data, new_class
from keras_transfer.revise.comparison import REVISION, Comparison, compare_runs
from keras_transfer.revise.label_text import SEPARATOR
from keras_transfer.revise.revision import Revision
from keras_transfer.runs import RunDirectory
from keras_transfer.runs.directory import REVISED
from keras_transfer.typing import Say


@checked
def retrain(
    run: AnyPath,
    *,
    add: AnyPath | None = None,
    data: AnyPath | None = None,
    new_classes: Names | None = None,
    head_only: Switch = False,
    output: AnyPath | None = None,
    backend: Backend | None = None,
    device: Device | None = None,
    say: Printer = text.say,
) -> Comparison:
    """Train the model of a run again, with corrections and further pictures, and compare it with the old one.

    The new run has its own directory; the old one is only read. A picture that is added is never tested on: if it is one of the test
    pictures, it is trained on with its new label and judges neither model.

    Args:
        run: a finished run directory.
        add: list of corrections, as ``serve`` and ``suggest`` write it; None: those that ``serve`` keeps beside the model, if ``data``
            is None too or there are some.
        data: further pictures: a folder, list, CSV or ``.npz`` file.
        new_classes: names of classes in ``add`` or ``data`` that the run does not have.
        head_only: keep the network and only solve its last layer again: seconds instead of the whole training.
        output: the new run directory; None: ``runs/NAME-DATE-TIME``.
        backend: Keras backend; None: that of the run.
        device: where to compute.
        say: prints a line.

    Returns:
        The comparison; its ``new`` is the new run.

    Raises:
        UserError: nothing to add, a label that is no class, data that cannot be used.
    """
    old = RunDirectory.open(run)
    base = base_data(old)
    new = [new_class(name, base.classes, base.samples.is_multi) for name in new_classes or ()]
    revision = Revision.of(base)
    kept = old.path / "corrections" / "list.txt"
    if add is None and (kept.is_file() or data is None):
        add = kept
        if not kept.is_file():
            raise UserError(f"nothing to add: {kept} does not exist; give --add corrections.txt or --data MORE")
    if add is not None:
        revision.add(corrections(add, base.classes, new, revision.several))
    if data is not None:
        revision.add(more_data(str(data), (*revision.classes, *new), new, revision.several))
    if not revision.changes():
        raise UserError("nothing to add: the data have all these pictures with these labels already")
    return make_run(old, base, revision, head_only, output, backend, device, say)


def base_data(run: RunDirectory) -> Dataset:
    """Return the data of a finished run.

    Raises:
        UserError: it did not finish, its data have changed, or its labels cannot be written between separators.
    """
    run.read_json(run.metrics)
    # A revision records where the pictures are, and its --data are others.
    found = data_of(run, advice="move them back, or put a link there to where they are now")
    if found is None:
        raise UserError(
            f"the data of {run.path} have changed since its training (images, labels or splits): bring back what it was trained on"
        )
    odd = next((name for name in found.classes if SEPARATOR in name), None) if found.samples.is_multi else None
    if odd is not None:
        raise UserError(
            f"{run.path}: a label with {SEPARATOR!r} in its name ({odd!r}) cannot be told from two: train with another name"
        )
    return found


def make_run(  # its arguments are those of the commands
    old: RunDirectory,
    base: Dataset,
    revision: Revision,
    head_only: bool,
    output: str | Path | None,
    backend: str | None,
    device: str | None,
    say: Say,
    columns: Sequence[int] | None = None,
    adds: bool = False,
) -> Comparison:
    """Make a run of revised data, and compare it with the old one.

    Args:
        old: the old run.
        base: its data.
        revision: what to train on.
        head_only: solve the last layer only.
        output: the new run directory, or None.
        backend: Keras backend, or None: that of the old run.
        device: where to compute, or None.
        say: prints a line.
        columns: outputs of the old model that the new one has, where nothing is to be trained; None: train.
        adds: whether all that is new are pictures of a class more.
    """
    check_revision(revision)
    config = old.read_config()
    wanted = None if output is None else str(output)
    with _begun(RunDirectory.create(wanted, config.name)) as new:
        table = revision.save(new.path)
        config = revision.configuration(config, table, new.path)
        notes = [*revision.notes, *_unjudged(base, revision)]
        about = {"of": str(old.path.absolute()), "notes": notes, "renamed": revision.renamed}
        if revision.withdrawn:
            about["notes"] = [
                *notes,
                f"{revision.withdrawn} pictures that judged the old model are trained on now, and judge neither",
            ]
        write_json(new.path / REVISED / REVISION, about)
        same = None
        if head_only:
            if config.data.depth == "auto":  # of a run that was started before there was such a key
                config = config.model_copy(update={"data": config.data.model_copy(update={"depth": base.depth})})
            start_backend(old, backend, device)
            from keras_transfer.revise import head  # which imports Keras

            make: head.Make = head.solved
            if columns is not None:
                make = head.kept(columns, _old_out_of_fold(old, base, revision, config))
            elif adds:
                make = head.added(_old_out_of_fold(old, base, revision, config))
            same = head.solve_run(old, new, config, backend, device, say, make)
        else:
            from keras_transfer.training.train import train

            train(config, backend=backend, device=device, say=say)
    made = compare_runs(old.path, new.path, backend=backend, device=device, same=same, say=say)
    say(f"regression report: {new.path / 'regression.html'}")
    say(f"run: {new.path}")
    return made


def _unjudged(base: Dataset, revision: Revision) -> list[str]:
    """Return a line for each new class that the comparison says nothing about, as all its pictures are trained on."""
    found = []
    for name in revision.classes:
        splits = [row.split for row in revision.rows if name in revision.names(row.label)]
        if name not in base.classes and name not in revision.renamed.values() and set(splits) == {"train"}:
            found.append(f"new class {name}: {len(splits)} pictures to train on, none to judge it by")
    return found


def _old_out_of_fold(old: RunDirectory, base: Dataset, revision: Revision, config: RunConfig) -> np.ndarray | None:
    """Return the out-of-fold logits of the old run for the training pictures of the new one, float64 (n, C), NaN where it has none; or None."""
    stored = old.read_out_of_fold()
    if stored is None or len(stored[0]) != len(base.train):
        return None
    place = {int(row): i for i, row in enumerate(base.train.indices)}
    rows = revision.rows_of(open_data(config).train)
    found = np.full((len(rows), stored[0].shape[1]), np.nan)
    for i, row in enumerate(rows):
        if row.base is not None and not row.added and row.base in place:
            found[i] = stored[0][place[row.base]]
    return found


def check_revision(revision: Revision) -> None:
    """Raise UserError unless there are two classes, each with two training pictures; or two labels, and pictures that have not just one."""
    if len(revision.classes) < 2:
        raise UserError(f"only one class would be left ({', '.join(revision.classes)}); expected at least two")
    if revision.several:
        if all(len(revision.names(row.label)) == 1 for row in revision.rows):
            raise UserError("every picture would have exactly one label, which are classes: train a new model on them")
        return
    counts = dict.fromkeys(revision.classes, 0)
    for row in revision.rows:
        counts[row.label] += row.split == "train"
    few = [f"{name!r} ({count})" for name, count in counts.items() if count < 2]
    if few:
        raise UserError(f"too few training pictures of {', '.join(few[:5])}; expected at least two of each class")


@contextlib.contextmanager
def _begun(run: RunDirectory) -> Iterator[RunDirectory]:
    """Remove what was written for a run that did not begin."""
    try:
        yield run
    except BaseException:
        if not run.config.is_file():
            shutil.rmtree(run.path / REVISED, ignore_errors=True)
            with contextlib.suppress(OSError):
                run.path.rmdir()
        raise
