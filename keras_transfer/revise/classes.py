"""Add, remove, rename and merge the classes of a model, in a new run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from keras_transfer import text
from keras_transfer.arguments import checked
from keras_transfer.arguments.names import normal
from keras_transfer.arguments.types import AnyPath, Backend, Device, Name, Names, Printer, Switch
from keras_transfer.data.dataset import Dataset
from keras_transfer.errors import UserError, unknown
from keras_transfer.revise.additions import new_class, of_class
from keras_transfer.revise.comparison import Comparison
from keras_transfer.revise.label_text import joined, relabelled
from keras_transfer.revise.retrain import base_data, make_run
from keras_transfer.revise.revision import Revision
from keras_transfer.runs import RunDirectory


@checked
def add_class(
    run: AnyPath,
    name: Name,
    pictures: Names,
    *,
    fine_tune: Switch = False,
    others_lack_it: Switch = False,
    output: AnyPath | None = None,
    backend: Backend | None = None,
    device: Device | None = None,
    say: Printer = text.say,
) -> Comparison:
    """Add a class to a model: the last layer gets an output for it, solved on the features of the network as it is, in seconds.

    Of five pictures or more, the run's share of test pictures (at least one) is kept for testing. The comparison says whether the old
    classes became worse.

    Args:
        run: a finished run directory; only read.
        name: of the new class.
        pictures: files, and folders of images.
        fine_tune: train everything again, as the run was trained, instead of the last layer alone.
        others_lack_it: of a run with several labels per picture: its own pictures do not have the new one, and pictures that
            are new to it have no other. Without it, nothing says so, and the run is refused.
        output: the new run directory; None: ``runs/NAME-DATE-TIME``.
        backend: Keras backend; None: that of the run.
        device: where to compute.
        say: prints a line.

    Raises:
        UserError: there is such a class, fewer than two pictures, or one that cannot be read.
    """
    old = RunDirectory.open(run)
    base = base_data(old)
    label = new_class(name, base.classes, base.samples.is_multi)
    if base.samples.is_multi and not others_lack_it:
        raise UserError(
            f"{old.path} gives a picture several labels, and nothing says which of its pictures have {label!r}: if none has, say "
            "--others-lack-it; else retrain --data with all labels of each picture"
        )
    config = old.read_config()
    share = len(base.test) / max(1, len(base.samples))
    revision = Revision.of(base)
    revision.add(of_class(list(pictures), label, share, config.seed), keep=True)
    adds = not any(row.added and row.base is not None for row in revision.rows)
    return make_run(old, base, revision, not fine_tune, output, backend, device, say, adds=adds)


@checked
def remove_class(
    run: AnyPath,
    names: Names,
    *,
    output: AnyPath | None = None,
    backend: Backend | None = None,
    device: Device | None = None,
    say: Printer = text.say,
) -> Comparison:
    """Remove classes from a model, with their pictures; nothing is trained, their outputs are left out.

    Where pictures may have several labels, they stay, without these.

    Raises:
        UserError: no such class, or fewer than two would be left.
    """
    old = RunDirectory.open(run)
    base = base_data(old)
    gone = list(dict.fromkeys(_one_of(name, base.classes) for name in names))
    revision = Revision.of(base)
    revision.classes = tuple(name for name in base.classes if name not in gone)
    if revision.several:
        left = [joined(name for name in revision.names(row.label) if name not in gone) for row in revision.rows]
        count = sum(row.label != label for row, label in zip(revision.rows, left))
        revision.rows = [replace(row, label=label) for row, label in zip(revision.rows, left)]
        revision.notes = [f"removed: {', '.join(gone)}; the {count} pictures that had it stay"]
    else:
        revision.rows = [row for row in revision.rows if row.label not in gone]
        revision.notes = [f"removed: {', '.join(gone)}, {len(base.samples) - len(revision.rows)} pictures"]
    columns = [base.classes.index(name) for name in revision.classes]
    return make_run(old, base, revision, True, output, backend, device, say, columns)


@checked
def rename_class(
    run: AnyPath,
    name: Name,
    new: Name,
    *,
    output: AnyPath | None = None,
    backend: Backend | None = None,
    device: Device | None = None,
    say: Printer = text.say,
) -> Comparison:
    """Give a class of a model another name; nothing is trained.

    Raises:
        UserError: no such class, or there is one of the new name.
    """
    old = RunDirectory.open(run)
    base = base_data(old)
    before = _one_of(name, base.classes)
    if normal(new) in map(normal, base.classes):
        raise UserError(f"there is a class {new!r} already; merge-classes joins two")
    after = new_class(new, base.classes, base.samples.is_multi)
    revision = _relabelled(base, {before: after}, f"renamed: {before} is {after}")
    return make_run(old, base, revision, True, output, backend, device, say, range(len(base.classes)))


@checked
def merge_classes(
    run: AnyPath,
    names: Names,
    into: Name,
    *,
    fine_tune: Switch = False,
    output: AnyPath | None = None,
    backend: Backend | None = None,
    device: Device | None = None,
    say: Printer = text.say,
) -> Comparison:
    """Make one class of several: the last layer is solved again, as no linear layer has the sum of their probabilities.

    Where pictures may have several labels, one that has any of these has the new one.

    Args:
        run: a finished run directory; only read.
        names: at least two classes.
        into: name of the class that they become: one of them, or a new one.
        fine_tune: train everything again, as the run was trained, instead of the last layer alone.
        output: the new run directory; None: ``runs/NAME-DATE-TIME``.
        backend: Keras backend; None: that of the run.
        device: where to compute.
        say: prints a line.

    Raises:
        UserError: no such class, fewer than two, ``into`` is the name of another one, or only one class would be left.
    """
    old = RunDirectory.open(run)
    base = base_data(old)
    joined = list(dict.fromkeys(_one_of(name, base.classes) for name in names))
    if len(joined) < 2:
        raise UserError(f"expected at least two classes to merge, got {', '.join(joined)}")
    others = [name for name in base.classes if name not in joined]
    label = next((name for name in joined if normal(name) == normal(into)), "") or new_class(
        into, others, base.samples.is_multi
    )
    revision = _relabelled(base, dict.fromkeys(joined, label), f"merged: {', '.join(joined)} are {label}")
    return make_run(old, base, revision, not fine_tune, output, backend, device, say)


def _relabelled(base: Dataset, names: dict[str, str], note: str) -> Revision:
    revision = Revision.of(base)
    revision.classes = tuple(dict.fromkeys(names.get(name, name) for name in base.classes))
    revision.rows = [replace(row, label=relabelled(row.label, names, revision.several)) for row in revision.rows]
    revision.renamed, revision.notes = names, [note]
    return revision


def _one_of(name: str, classes: Sequence[str]) -> str:
    for one in classes:
        if normal(one) == normal(name):
            return one
    raise unknown("class", name, classes)
