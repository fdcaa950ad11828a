"""Whether a new model is better than an old one: both on the same pictures, which neither was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

LEVEL = 0.05
MARGIN = 0.01
"""Share of the pictures that a model may lose, where chance can explain it, and still be taken."""
Verdict = Literal["take", "leave", "unknown"]


@dataclass(frozen=True)
class Answer:
    """What both models say of a picture.

    Attributes:
        picture: its name.
        label: its class.
        old: the class that the old model says, by its name in the new model.
        new: the class that the new model says.
        old_probability, new_probability: of what each says, 0..1.
    """

    picture: str
    label: str
    old: str
    new: str
    old_probability: float
    new_probability: float


@dataclass(frozen=True)
class ClassChange:
    """Pictures of a class: how many there are, and how many each model gets right.

    Attributes:
        name: the class.
        n: its pictures.
        old, new: right by the old model and by the new one.
        better: wrong before, right now.
        worse: right before, wrong now.
    """

    name: str
    n: int
    old: int
    new: int
    better: int
    worse: int


@dataclass(frozen=True)
class LabelChange:
    """A label, where pictures may have several.

    Attributes:
        name: the label.
        n: pictures that have it.
        old_precision, new_precision: average precision of each model, 0..1; None where no picture has the label, or the old model does
            not know it.
        better: pictures for which it was wrong before and is right now.
        worse: right before, wrong now.
    """

    name: str
    n: int
    old_precision: float | None
    new_precision: float | None
    better: int
    worse: int


@dataclass(frozen=True)
class Regression:
    """The comparison of an old and a new model.

    Attributes:
        n: pictures of classes that both models know.
        old_accuracy, new_accuracy: on them, 0..1.
        interval: 95 % interval of the difference, new minus old (paired, normal approximation).
        better, worse: pictures that only the new, or only the old model gets right, the surest first.
        others: pictures that both get wrong, in another way.
        p: of McNemar's exact test (1947): how probable is at least such an imbalance between better and worse, if both models are equally good.
        by_class: for each class that both models know.
        added: for each class that only the new model knows.
        verdict: whether to take the new model.
        reason: of the verdict, one sentence.
        labels: for each label that the new model knows, where pictures may have several. A picture then is right if all labels that both
            models know are, and ``by_class`` and ``added`` are empty.
    """

    n: int
    old_accuracy: float
    new_accuracy: float
    interval: tuple[float, float]
    better: tuple[Answer, ...]
    worse: tuple[Answer, ...]
    others: tuple[Answer, ...]
    p: float
    by_class: tuple[ClassChange, ...]
    added: tuple[ClassChange, ...]
    verdict: Verdict
    reason: str
    labels: tuple[LabelChange, ...] = ()

    @property
    def mean_average_precision(self) -> tuple[float, float] | None:
        """Of both models, the mean over the labels that both know and that occur, 0..1; None without several labels."""
        pairs = [
            (one.old_precision, one.new_precision)
            for one in self.labels
            if one.old_precision is not None and one.new_precision is not None
        ]
        if not pairs:
            return None
        return sum(old for old, _ in pairs) / len(pairs), sum(new for _, new in pairs) / len(pairs)

    @property
    def difference(self) -> float:
        """New accuracy minus old accuracy."""
        return self.new_accuracy - self.old_accuracy

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        found = {**asdict(self), "difference": self.difference}
        if not self.labels:
            del found["labels"]
            return found
        both = self.mean_average_precision
        return {**found, "mean_average_precision": None if both is None else {"old": both[0], "new": both[1]}}


@dataclass(frozen=True)
class Opinion:
    """What a model says of pictures.

    Attributes:
        classes: its class names, as the new model calls them; of classes that were merged, the same name several times.
        probabilities: float64 (n, C), rows sum to 1.
    """

    classes: Sequence[str]
    probabilities: np.ndarray

    def by_name(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the most probable name of each picture, object (n,), and its probability, float64 (n,)."""
        names = list(dict.fromkeys(self.classes))
        joined = np.zeros((len(self.probabilities), len(names)))
        for place, name in enumerate(self.classes):
            joined[:, names.index(name)] += self.probabilities[:, place]
        best = joined.argmax(axis=1) if len(joined) else np.zeros(0, np.int64)
        return np.array(names, object)[best], joined[np.arange(len(joined)), best]


def regression(
    pictures: Sequence[str], labels: Sequence[str], old: Opinion, new: Opinion, margin: float = MARGIN
) -> Regression:
    """Compare two models on the same pictures.

    Args:
        pictures: names.
        labels: the class of each.
        old: what the old model says of them.
        new: what the new model says of them.
        margin: share of pictures that the new model may lose, where chance can explain it.
    """
    truth = np.array(labels, object)
    (said, sure), (says, now_sure) = old.by_name(), new.by_name()
    answers = [
        Answer(picture, label, str(before), str(now), float(p), float(q))
        for picture, label, before, now, p, q in zip(pictures, labels, said, says, sure, now_sure)
    ]
    was, is_now = said == truth, says == truth
    both = np.isin(truth, np.array(list(old.classes), object)) if len(truth) else np.zeros(0, bool)
    rows = [_class(name, truth == name, was, is_now) for name in dict.fromkeys(new.classes) if (truth == name).any()]
    found = compared(answers, was, is_now, said != says, both, (), margin)
    return replace(
        found,
        by_class=tuple(row for row in rows if row.name in old.classes),
        added=tuple(row for row in rows if row.name not in old.classes),
    )


def compared(  # the parts of a comparison
    answers: Sequence[Answer],
    was: np.ndarray,
    is_now: np.ndarray,
    differs: np.ndarray,
    both: np.ndarray,
    labels: tuple[LabelChange, ...] = (),
    margin: float = MARGIN,
) -> Regression:
    """Return the comparison of two models whose answers are known to be right or wrong, without classes.

    Args:
        answers: of each picture.
        was, is_now: whether the old and the new model is right, bool (n,).
        differs: whether they say different things, bool (n,).
        both: which pictures both models can be right about, bool (n,).
        labels: what became of each of several labels.
        margin: share of pictures that the new model may lose, where chance can explain it.
    """
    better, worse, others = (
        _surest(answers, both & mask) for mask in (~was & is_now, was & ~is_now, ~was & ~is_now & differs)
    )
    n = int(both.sum())
    p = mcnemar(len(better), len(worse))
    verdict, reason = judge(n, len(better), len(worse), p, margin)
    old, new = (float(right[both].mean()) if n else 0.0 for right in (was, is_now))
    interval = _interval(n, len(better), len(worse))
    return Regression(n, old, new, interval, better, worse, others, p, (), (), verdict, reason, labels)


def mcnemar(better: int, worse: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (1947): a binomial test of the pictures on which the models differ."""
    from scipy.stats import binomtest

    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0


def judge(n: int, better: int, worse: int, p: float, margin: float = MARGIN) -> tuple[Verdict, str]:
    """Return the verdict on a new model, and its reason in a sentence."""
    counts = f"{better} pictures better and {worse} worse, of {n} (p = {p:.2g})"
    if not n:
        return "unknown", "There are no pictures that neither model was trained on."
    if p < LEVEL:
        return ("take", f"It is better: {counts}.") if better > worse else ("leave", f"It is worse: {counts}.")
    if better >= worse:
        return "take", f"It is not worse: {counts}."
    if (worse - better) / n <= margin:
        return "take", f"It is not clearly worse, within {100 * margin:g} % of the pictures: {counts}."
    return "leave", f"It lost more than {100 * margin:g} % of the pictures, though chance may explain it: {counts}."


def renamed(classes: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Return the class names of an old model as the new one calls them."""
    return [names.get(name, name) for name in classes]


def _surest(answers: Sequence[Answer], mask: np.ndarray) -> tuple[Answer, ...]:
    found = [answers[i] for i in np.flatnonzero(mask).tolist()]
    return tuple(sorted(found, key=lambda one: (-one.new_probability, one.picture)))


def _class(name: str, mine: np.ndarray, was: np.ndarray, is_now: np.ndarray) -> ClassChange:
    counts = (mine, mine & was, mine & is_now, mine & ~was & is_now, mine & was & ~is_now)
    return ClassChange(name, *(int(mask.sum()) for mask in counts))


def _interval(n: int, better: int, worse: int) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two paired proportions, with half a picture more in each cell (Agresti & Min 2005)."""
    if not n:
        return -1.0, 1.0
    n, gained, lost = n + 2, better + 0.5, worse + 0.5
    middle = (gained - lost) / n
    half = 1.959963984540054 * math.sqrt(max(gained + lost - (gained - lost) ** 2 / n, 0)) / n
    return max(-1.0, middle - half), min(1.0, middle + half)
