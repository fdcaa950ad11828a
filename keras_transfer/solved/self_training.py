"""A head that learns from samples without labels too, if that helps with samples that it has not seen.

Labels spread over a graph of nearest neighbours (Zhou et al., "Learning with local and global consistency", NIPS 2003), and the head is
solved on what they say of each sample, weighted by how certain that is (Iscen et al., "Label propagation for deep semi-supervised
learning", CVPR 2019, https://arxiv.org/abs/1904.04717). Both are done again without each fold of the labelled samples, which then say
whether the head became better.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array, diags_array
from threadpoolctl import threadpool_limits

from keras_transfer.solved.cross_validation import CrossValidation, out_of_fold
from keras_transfer.solved.evidence import Evidence, difference, losses, measure
from keras_transfer.solved.head import SolvedHead
from keras_transfer.solved.solvers import HeadSolver
from keras_transfer.solved.temperature import fit_temperature

NEIGHBOURS = 5
SPREAD = 0.8  # what a sample takes from its neighbours in each step; the rest is its own label
STEPS = 60  # 0.8⁶⁰ is 10⁻⁶
AXES = 512  # principal axes that features are reduced to: the time grows with their square
STRENGTHS = (1e-4, 3.2e-4, 1e-3, 3.2e-3, 1e-2)
"""Of the regularization. It is that of many rows, some with wrong labels, and not the one that is best for few rows with right ones."""
_FEW = 3000  # rows up to which the samples are divided into folds several times
_BLOCK = 1024


@dataclass(frozen=True)
class SelfTraining:
    """What came of the samples without labels.

    Attributes:
        head: calibrated, float64.
        logits: of the labelled samples by heads made without them, calibrated, float64 (n, C).
        temperature: that head and logits were divided by.
        evidence_start: of heads without unlabelled samples.
        evidence: of heads with them.
        accepted: whether the log-loss is lower by more than one standard error of the paired difference, and the accuracy not lower by
            more than one.
        samples: number of unlabelled samples.
        seconds: that all of it took.
    """

    head: SolvedHead
    logits: np.ndarray
    temperature: float
    evidence_start: Evidence
    evidence: Evidence
    accepted: bool
    samples: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the figures, JSON-able."""
        return {
            "accepted": self.accepted,
            "images": self.samples,
            "strength": self.head.strength,
            "temperature": self.temperature,
            "evidence_start": asdict(self.evidence_start),
            "evidence": asdict(self.evidence),
            "seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        verdict = "they help and are used" if self.accepted else "no clear gain, they are not used"
        return (
            f"{self.samples} images without labels: {verdict}: log-loss {self.evidence_start.log_loss:.4f} -> "
            f"{self.evidence.log_loss:.4f}, accuracy {self.evidence_start.accuracy:.4f} -> {self.evidence.accuracy:.4f} on "
            f"{self.evidence.n} images out of fold, {self.seconds:.1f} s"
        )


class Beside:
    """Labelled samples, and others beside them, in the principal axes of all.

    Args:
        features: float (n, d), of the labelled samples.
        others: float (m, d), of those without labels.
    """

    def __init__(self, features: np.ndarray, others: np.ndarray):
        rows = np.concatenate([np.asarray(features, np.float64), np.asarray(others, np.float64)])
        self.mean = rows.mean(axis=0)
        self.axes = principal_axes(rows - self.mean, AXES)
        self.rows = (rows - self.mean) @ self.axes
        self.count = len(features)
        self.graph = neighbours(self.rows, NEIGHBOURS)

    def heads(
        self,
        solver: HeadSolver,
        given: np.ndarray,
        labels: np.ndarray,
        classes: int,
        strengths: Sequence[float],
        weights: np.ndarray | None = None,
    ) -> Iterator[SolvedHead]:
        """Return the head of each strength, on the original features, from some of the labelled samples and all others.

        Args:
            solver: of the heads.
            given: int (k,), places of the labelled samples that may be used.
            labels: int (n,), of all labelled samples.
            classes: number of classes, C.
            strengths: of the regularization.
            weights: float (n,), of the labelled samples; None: all the same. An unlabelled sample counts as much as a labelled one if what
                its neighbours say is certain, and not at all if they say nothing.
        """
        others = np.arange(self.count, len(self.rows))
        used = np.concatenate([given, others])
        own = np.eye(classes)[labels[given]]
        shares = spread(self.graph[used][:, used], own)[len(given) :]
        beside = certainty(shares)
        known = np.ones(len(given)) if weights is None else np.asarray(weights, np.float64)[given]
        targets = np.concatenate([labels[given], shares.argmax(axis=1)])
        path = solver.path(self.rows[used], targets, classes, strengths, np.concatenate([known, known.mean() * beside]))
        return (self._on_features(head) for head in path)

    def _on_features(self, head: SolvedHead) -> SolvedHead:
        kernel = self.axes @ head.kernel
        return SolvedHead(kernel, head.bias - self.mean @ kernel, head.solver, head.strength)


def self_train(
    solver: HeadSolver,
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    folds: np.ndarray,
    others: np.ndarray,
    found: CrossValidation,
    weights: np.ndarray | None = None,
    measured: np.ndarray | None = None,
) -> SelfTraining:
    """Solve a head with unlabelled samples, and say by out-of-fold predictions for the labelled ones whether it is better than without.

    Args:
        solver: of the head.
        features: float (n, d), of the labelled samples.
        labels: integers (n,).
        classes: number of classes, C.
        folds: integers (repeats, n), those that ``found`` was made with.
        others: float (m, d), features of the unlabelled samples.
        found: the head without them.
        weights: float (n,), of the labelled samples when a head is solved; None: all the same.
        measured: float (n,), of the labelled samples in the evidence; None: all the same.
    """
    began = time.perf_counter()
    folds = np.atleast_2d(folds)[: max(1, _FEW // (len(labels) + len(others)))]
    with threadpool_limits(1 if len(labels) + len(others) <= _FEW else None):
        beside = Beside(features, others)
        before = out_of_fold(solver, features[None], labels, classes, folds, weights, (found.strength,))[0]
        tried = _out_of_fold_beside(beside, solver, features, labels, classes, folds, weights)
        temperatures = [fit_temperature(logits, labels, measured) for logits in tried]
        costs = [np.average(losses(logits / t, labels), weights=measured) for logits, t in zip(tried, temperatures)]
        best = int(np.argmin(costs))
        places = np.arange(len(labels))
        head = next(beside.heads(solver, places, labels, classes, (STRENGTHS[best],), weights))
    first, last = before / found.temperature, tried[best] / temperatures[best]
    loss, loss_error, accuracy, accuracy_error = difference(last, first, labels, measured)
    return SelfTraining(
        head.scaled(temperatures[best]),
        last.mean(axis=0),
        temperatures[best],
        measure(first, labels, measured),
        measure(last, labels, measured),
        loss < -loss_error and accuracy >= -accuracy_error,
        len(others),
        time.perf_counter() - began,
    )


def _out_of_fold_beside(
    beside: Beside,
    solver: HeadSolver,
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    folds: np.ndarray,
    weights: np.ndarray | None,
) -> np.ndarray:
    """Return the logits of each labelled sample by heads without its fold, float64 (strengths, repeats, n, C)."""
    found = np.empty((len(STRENGTHS), len(folds), len(labels), classes))
    for repeat, fold in enumerate(folds):
        for number in np.unique(fold):
            held = fold == number
            given = np.flatnonzero(~held)
            for k, head in enumerate(beside.heads(solver, given, labels, classes, STRENGTHS, weights)):
                found[k, repeat, held] = head.logits(features[held])
    return found


def principal_axes(rows: np.ndarray, most: int) -> np.ndarray:
    """Return the first principal axes of centred rows (n, d), orthonormal columns, float64 (d, r), r = min(n, d, most)."""
    from sklearn.utils.extmath import randomized_svd

    if min(rows.shape) <= most:
        return np.asarray(np.linalg.svd(rows, full_matrices=False)[2].T)
    return np.asarray(randomized_svd(rows, most, random_state=0)[2].T)


def neighbours(rows: np.ndarray, count: int) -> csr_array:
    """Return how much samples are alike, (n, n), symmetric: the cube of the cosine for the nearest neighbours of each, 0 for others.

    Args:
        rows: float (n, d), centred.
        count: of neighbours of each; there are more where they are not mutual.
    """
    unit = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    count = min(count, len(unit) - 1)
    places, values = [], []
    for first in range(0, len(unit), _BLOCK):
        cosines = unit[first : first + _BLOCK] @ unit.T
        block = np.arange(len(cosines))
        cosines[block, first + block] = -1  # no sample is its own neighbour
        nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        places.append(nearest)
        values.append(np.maximum(np.take_along_axis(cosines, nearest, axis=1), 0) ** 3)
    each = np.repeat(np.arange(len(unit)), count)
    shape = (len(unit), len(unit))
    alike = csr_array(
        (np.concatenate(values).ravel().astype(np.float64), (each, np.concatenate(places).ravel())), shape
    )
    return csr_array(alike + alike.T)


def spread(graph: csr_array, labels: np.ndarray) -> np.ndarray:
    """Return what the labels of the first samples say of each sample, float64 (n, C): shares of the classes; 1/C where they say nothing.

    Args:
        graph: (n, n), how much samples are alike, symmetric.
        labels: float (k, C), one-hot, of the first k samples.
    """
    scale = diags_array(1 / np.sqrt(np.maximum(np.asarray(graph.sum(axis=0)).ravel(), 1e-12)))
    step = scale @ graph @ scale
    known = np.zeros((graph.shape[0], labels.shape[1]))
    known[: len(labels)] = labels
    found = known
    for _ in range(STEPS):
        found = SPREAD * (step @ found) + (1 - SPREAD) * known
    total = found.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 1e-9, found / np.maximum(total, 1e-9), 1 / labels.shape[1]))


def certainty(shares: np.ndarray) -> np.ndarray:
    """Return 1 − entropy / log C of shares of the classes (n, C), float64 (n,): 1 for a single class, 0 for equal shares."""
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=1)
    return np.asarray(np.clip(1 - entropy / np.log(shares.shape[1]), 0, 1))
