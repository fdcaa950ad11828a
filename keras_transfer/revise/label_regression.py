"""Whether a new model is better than an old one where pictures may have several labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_transfer.evaluation.multilabel import average_precisions
from keras_transfer.revise.label_text import SEPARATOR
from keras_transfer.revise.regression import MARGIN, Answer, LabelChange, Regression, compared


@dataclass(frozen=True)
class LabelOpinion:
    """What a model says of pictures that may have several labels.

    Attributes:
        classes: its labels, as the new model calls them; of labels that were merged, the same name several times.
        probabilities: float64 (n, C), of each label on its own.
        thresholds: float64 (C,), the probability from which a picture has a label.
    """

    classes: Sequence[str]
    probabilities: np.ndarray
    thresholds: np.ndarray

    def of(self, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities, float64 (n, k), and decisions, bool (n, k), for labels; of merged ones, the highest and any."""
        places = [[place for place, one in enumerate(self.classes) if one == name] for name in names]
        says = self.probabilities >= self.thresholds
        shape = (len(self.probabilities), len(names))
        values, decided = np.zeros(shape), np.zeros(shape, bool)
        for k, columns in enumerate(places):
            values[:, k] = self.probabilities[:, columns].max(axis=1)
            decided[:, k] = says[:, columns].any(axis=1)
        return values, decided


def label_regression(
    pictures: Sequence[str],
    labels: Sequence[Sequence[str]],
    old: LabelOpinion,
    new: LabelOpinion,
    margin: float = MARGIN,
) -> Regression:
    """Compare two models on the same pictures.

    A picture is right if all labels that both models know are right, each decided by the model's own thresholds. Better, worse, McNemar's
    test and the verdict are of pictures in that sense; labels are compared by their average precision too.

    Args:
        pictures: names.
        labels: those of each picture.
        old: what the old model says of them.
        new: what the new model says of them.
        margin: share of pictures that the new model may lose, where chance can explain it.
    """
    shared = [name for name in dict.fromkeys(new.classes) if name in old.classes]
    added = [name for name in dict.fromkeys(new.classes) if name not in old.classes]
    truth, (sure, said), (now_sure, says) = _truth(labels, shared), old.of(shared), new.of(shared)
    was, is_now = (said == truth).all(axis=1), (says == truth).all(axis=1)
    answers = [
        Answer(
            picture,
            _named(truth[i], shared),
            _named(said[i], shared),
            _named(says[i], shared),
            _least_sure(sure[i], said[i]),
            _least_sure(now_sure[i], says[i]),
        )
        for i, picture in enumerate(pictures)
    ]
    before, now = _precisions(sure, truth), _precisions(now_sure, truth)
    changes = [
        LabelChange(
            name,
            int(truth[:, k].sum()),
            before[k],
            now[k],
            int(((said[:, k] != truth[:, k]) & (says[:, k] == truth[:, k])).sum()),
            int(((said[:, k] == truth[:, k]) & (says[:, k] != truth[:, k])).sum()),
        )
        for k, name in enumerate(shared)
    ]
    own = _truth(labels, added)
    found = _precisions(new.of(added)[0], own)
    changes += [LabelChange(name, int(own[:, k].sum()), None, found[k], 0, 0) for k, name in enumerate(added)]
    differs = (said != says).any(axis=1)
    return compared(answers, was, is_now, differs, np.ones(len(answers), bool), tuple(changes), margin)


def _truth(labels: Sequence[Sequence[str]], names: Sequence[str]) -> np.ndarray:
    return np.array([[name in own for name in names] for own in labels], bool).reshape(len(labels), len(names))


def _named(row: np.ndarray, names: Sequence[str]) -> str:
    return SEPARATOR.join(names[k] for k in np.flatnonzero(row).tolist()) or "no label"


def _least_sure(values: np.ndarray, decided: np.ndarray) -> float:
    """Return the probability of the decision that is the least sure, 0 … 1."""
    return float(np.where(decided, values, 1 - values).min()) if len(values) else 1.0


def _precisions(values: np.ndarray, truth: np.ndarray) -> list[float | None]:
    if not len(truth):
        return [None] * truth.shape[1]
    return [None if np.isnan(one) else float(one) for one in average_precisions(values, truth)]
