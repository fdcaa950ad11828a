"""The input of a report: the files of a run and, if available, its images and model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from keras_transfer.errors import UserError
from keras_transfer.evaluation.judged import OUT_OF_FOLD, Judged
from keras_transfer.evaluation.leaderboard import Leaderboard
from keras_transfer.evaluation.tasks import MULTI

if TYPE_CHECKING:
    from keras_transfer.config.resolved import ResolvedConfig
    from keras_transfer.data.dataset import Dataset
    from keras_transfer.runs import RunDirectory


@dataclass(frozen=True)
class Evidence:
    """Images, model and predictions of a run, which its figures are made from.

    Attributes:
        data: the run's images.
        model: the run's model.
        judged: predictions by name, of those of validation, test and training images (out of fold) that there are.
    """

    data: Dataset
    model: Any
    judged: dict[str, Judged]


@dataclass(frozen=True)
class RunView:
    """A finished run.

    Attributes:
        run: its directory.
        evidence: images, model and logits; None omits what needs them.
        missing: why there is no evidence.
    """

    run: RunDirectory
    evidence: Evidence | None = None
    missing: str = ""

    @cached_property
    def config(self) -> ResolvedConfig:
        """The resolved configuration."""
        return self.run.read_resolved()

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """``manifest.json``."""
        manifest: dict[str, Any] = self.run.read_json(self.run.manifest)
        return manifest

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """``metrics.json``."""
        metrics: dict[str, Any] = self.run.read_json(self.run.metrics)
        return metrics

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """The rows of ``history.csv``."""
        return self.run.read_history()

    @cached_property
    def measured(self) -> dict[str, dict[str, Any]]:
        """The metrics of what was judged: ``"test"``, ``"val"`` and ``"out_of_fold"``, as far as there are any.

        Without validation images, ``val`` in ``metrics.json`` says what it is ``of`` and holds the out-of-fold figures.
        """
        found = {name: self.metrics[name] for name in ("test", "val", OUT_OF_FOLD) if self.metrics.get(name)}
        if "of" in found.get("val", {}):
            found.setdefault(OUT_OF_FOLD, found.pop("val"))
        return found

    @property
    def split(self) -> str:
        """What is shown: ``"test"``; without test images ``"val"``; without both ``"out_of_fold"``.

        Raises:
            UserError: nothing was measured.
        """
        for name in ("test", "val", OUT_OF_FOLD):
            if name in self.measured:
                return name
        raise UserError(f"{self.run.metrics} has no figures: expected test, val or out_of_fold")

    @property
    def figures(self) -> dict[str, Any]:
        """The metrics of what is shown."""
        return self.measured[self.split]

    @property
    def kind(self) -> str:
        """The name of the images that are shown, in texts: ``"test"``, ``"validation"`` or ``"training"``."""
        return {"test": "test", "val": "validation", OUT_OF_FOLD: "training"}[self.split]

    @property
    def is_out_of_fold(self) -> bool:
        """Whether the figures are those of training images, each predicted by a model made without it."""
        return self.split == OUT_OF_FOLD

    @property
    def judged(self) -> Judged | None:
        """The predictions that are shown, if they are at hand."""
        return None if self.evidence is None else self.evidence.judged.get(self.split)

    @property
    def is_multi(self) -> bool:
        """Whether an image may have several labels."""
        return self.figures.get("task") == MULTI

    @cached_property
    def leaderboard(self) -> Leaderboard | None:
        """The candidates that the model was chosen from, if there were several."""
        stored = self.metrics.get("leaderboard")
        return None if stored is None else Leaderboard.read(stored)

    @property
    def chosen_by(self) -> str:
        """What selected the model: ``"validation"`` or ``"out-of-fold predictions"``."""
        if self.leaderboard is not None and self.leaderboard.evidence:
            return self.leaderboard.evidence
        return "validation" if "val" in self.measured or OUT_OF_FOLD not in self.measured else "out-of-fold predictions"

    @cached_property
    def classes(self) -> list[str]:
        """Class names, in label order."""
        return [str(name) for name in self.manifest["data"]["classes"]]
