"""Methods of a classifier of a run that make a new run of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from keras_transfer import text
from keras_transfer.arguments import checked
from keras_transfer.arguments.types import AnyPath, Name, Names, Printer, Switch
from keras_transfer.errors import UserError

if TYPE_CHECKING:
    from keras_transfer.revise.comparison import Comparison


class Revising:
    """Methods of :class:`~keras_transfer.classifier.Classifier`; each makes a new run and returns its classifier.

    Attributes:
        run: run directory of the classifier; the methods need one.
        comparison: after one of these methods, the regression report: the classifier that it was called on against this one.
    """

    run: Path | None
    comparison: Comparison | None = None

    @classmethod
    def _wrap(cls, model: Any, metadata: dict[str, Any]) -> Self:
        raise NotImplementedError

    @checked
    def retrain(
        self,
        *,
        add: AnyPath | None = None,
        data: AnyPath | None = None,
        new_classes: Names | None = None,
        head_only: Switch = False,
        output: AnyPath | None = None,
        say: Printer = text.say,
    ) -> Self:
        """Train again with corrections and further pictures; see :func:`keras_transfer.revise.retrain.retrain`."""
        from keras_transfer.revise.retrain import retrain

        run = self._own_run()
        return self._of(
            retrain(run, add=add, data=data, new_classes=new_classes, head_only=head_only, output=output, say=say)
        )

    @checked
    def add_class(
        self,
        name: Name,
        pictures: Names,
        *,
        fine_tune: Switch = False,
        others_lack_it: Switch = False,
        output: AnyPath | None = None,
        say: Printer = text.say,
    ) -> Self:
        """Add a class in seconds; see :func:`keras_transfer.revise.classes.add_class`.

        Args:
            name: of the class.
            pictures: files, and folders of images.
            fine_tune: train everything again, instead of the last layer alone.
            others_lack_it: of several labels per picture: the run's own pictures do not have the new one.
            output: the new run directory.
            say: prints a line.
        """
        from keras_transfer.revise.classes import add_class

        return self._of(
            add_class(
                self._own_run(),
                name,
                pictures,
                fine_tune=fine_tune,
                others_lack_it=others_lack_it,
                output=output,
                say=say,
            )
        )

    @checked
    def remove_class(self, names: Names, *, output: AnyPath | None = None, say: Printer = text.say) -> Self:
        """Remove classes, without training; see :func:`keras_transfer.revise.classes.remove_class`."""
        from keras_transfer.revise.classes import remove_class

        return self._of(remove_class(self._own_run(), names, output=output, say=say))

    @checked
    def rename_class(self, name: Name, new: Name, *, output: AnyPath | None = None, say: Printer = text.say) -> Self:
        """Give a class another name; see :func:`keras_transfer.revise.classes.rename_class`."""
        from keras_transfer.revise.classes import rename_class

        return self._of(rename_class(self._own_run(), name, new, output=output, say=say))

    @checked
    def merge_classes(
        self,
        names: Names,
        into: Name,
        *,
        fine_tune: Switch = False,
        output: AnyPath | None = None,
        say: Printer = text.say,
    ) -> Self:
        """Make one class of several; see :func:`keras_transfer.revise.classes.merge_classes`."""
        from keras_transfer.revise.classes import merge_classes

        return self._of(merge_classes(self._own_run(), names, into, fine_tune=fine_tune, output=output, say=say))

    def _own_run(self) -> Path:
        if self.run is None:
            raise UserError(
                "the classifier has no run, whose data are needed: load one (kt.load(RUN)), or make one with kt.fine_tune or kt.train"
            )
        return self.run

    def _of(self, made: Comparison) -> Self:
        from keras_transfer.models.bundle import load

        new = self._wrap(*load(made.new / "model.keras"))
        new.run, new.comparison = made.new, made
        return new
