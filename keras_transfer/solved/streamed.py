"""Logistic regression on features that are read in chunks, of which memory never holds more than one in floating point.

The objective is that of :class:`~keras_transfer.solved.logistic.Logistic`. It is minimized by L-BFGS (Liu and Nocedal, 1989), a pass over the
features for each step, in coordinates in which the curvature at the start is the same in every direction: the principal axes of features and
of classes. The strength of the penalty is chosen on some of the samples, of which a fifth judges: from strong to weak, each solution starts
the search for the next, until they get worse. For the penalty of a Gaussian prior of fixed width, which does not
depend on how many samples there are, the strength per sample is inversely proportional to their number.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.solved.evidence import Evidence, losses, measure
from keras_transfer.solved.folds import fold_numbers
from keras_transfer.solved.head import SolvedHead
from keras_transfer.solved.logistic import Logistic
from keras_transfer.solved.temperature import fit_temperature

Read = Callable[[int, int], np.ndarray]
"""Returns rows from … to … of the features, float (m, d)."""

Point = tuple[np.ndarray, np.ndarray]
"""Kernel and bias, float64."""

LARGE = 4 << 30
"""Bytes of features, or of the predictions of all strengths, in float64, from which heads are solved in chunks."""
_CHUNK = 8192
_SOME = 20_000  # samples that the strength is chosen on, and as many that judge the head
_STEPS = 60
_PRECISION = 1e-8  # relative change of the loss in a step below which the search ends
_ROUGH = 1e-5  # the same, where strengths are compared
_WORSE = 1.02  # log-loss, relative to the lowest, from which no weaker strength is tried


@dataclass(frozen=True)
class Streamed:
    """A head and what is known about it.

    Attributes:
        head: the solution, not divided by the temperature.
        temperature: by which its logits are best divided.
        evidence: of the logits divided by the temperature, on samples that the head was not solved on; None with all of them.
        seconds: that it took.
    """

    head: SolvedHead
    temperature: float
    evidence: Evidence | None
    seconds: float


def is_large(samples: int, features: int, classes: int, predictions: int = 10) -> bool:
    """Return whether a head is solved in chunks.

    Args:
        samples: number of samples.
        features: of each.
        classes: number of classes.
        predictions: of each sample, that cross-validation would keep.
    """
    return 8 * samples * max(features, predictions * classes) > LARGE


def solve_streamed(
    read: Read,
    labels: np.ndarray,
    classes: int,
    strength: float | None = None,
    weights: np.ndarray | None = None,
    judged: bool = True,
) -> Streamed:
    """Solve a head on features that are read in chunks.

    Args:
        read: returns rows of the features.
        labels: integers (n,), 0 … classes − 1; a class may have no sample and is then never predicted.
        classes: number of classes, C.
        strength: of the penalty; None: chosen on 20,000 samples.
        weights: float (n,), not negative; None: all the same.
        judged: leave up to 20,000 samples, at most a tenth, out of the solution to judge it and to find its temperature.

    Raises:
        UserError: features that are not finite, fewer than 100 samples, or only one class.
    """
    began = time.perf_counter()
    labels = np.asarray(labels, np.int64)
    count = len(labels)
    if count < 100 or len(np.unique(labels)) < 2:
        raise UserError(f"a head in chunks: expected at least 100 samples of two classes, got {count}")
    order = np.random.default_rng(0).permutation(count)
    held = np.sort(order[: min(_SOME, count // 10)]) if judged else order[:0]
    shares = np.ones(count) if weights is None else np.asarray(weights, np.float64).copy()
    near = None
    if strength is None:
        some = np.sort(order[len(held) : len(held) + _SOME])
        rows = _rows(read, some, count).astype(np.float32)
        near = _chosen(rows, labels[some], classes, None if weights is None else weights[some])
        strength = near.strength * len(some) / (count - len(held))
    shares[held] = 0
    shares /= shares.sum()
    head = _Descent(read, labels, classes, shares).head(strength, near)
    if not len(held):
        return Streamed(head, 1.0, None, time.perf_counter() - began)
    logits = _rows(read, held, count) @ head.kernel + head.bias
    measured = None if weights is None else weights[held]
    temperature = fit_temperature(logits, labels[held], measured)
    evidence = measure(logits / temperature, labels[held], measured)
    return Streamed(head, temperature, evidence, time.perf_counter() - began)


def _rows(read: Read, places: np.ndarray, count: int) -> np.ndarray:
    """Return some rows, float64, read in chunks."""
    parts = []
    for start, stop in _chunks(count):
        inside = places[np.searchsorted(places, start) : np.searchsorted(places, stop)]
        if len(inside):
            parts.append(np.asarray(read(start, stop)[inside - start], np.float64))
    return np.concatenate(parts)


def _chunks(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, _CHUNK):
        yield start, min(start + _CHUNK, count)


def _chosen(features: np.ndarray, labels: np.ndarray, classes: int, weights: np.ndarray | None) -> SolvedHead:
    """Return the head with the lowest log-loss on a fifth of these samples, after a temperature, solved on the others."""
    fold = fold_numbers(labels, 5, 1, 0)[0]
    judges = fold == 0
    shares = np.where(judges, 0.0, 1.0 if weights is None else weights)
    descent = _Descent(lambda start, stop: features[start:stop], labels, classes, shares / shares.sum())
    measured = None if weights is None else weights[judges]
    costs: dict[float, float] = {}
    heads: dict[float, SolvedHead] = {}
    point = None
    for strength in sorted(Logistic.strengths, reverse=True):
        point = descent.minimum(strength, point, _ROUGH)
        heads[strength] = descent.solved(point, strength)
        logits = heads[strength].logits(features[judges])
        temperature = fit_temperature(logits, labels[judges], measured)
        costs[strength] = float(np.average(losses(logits / temperature, labels[judges]), weights=measured))
        if costs[strength] > _WORSE * min(costs.values()):
            break
    return heads[min(costs, key=lambda strength: (costs[strength], -strength))]


class _Descent:
    """The search for the minimum."""

    def __init__(self, read: Read, labels: np.ndarray, classes: int, shares: np.ndarray):
        self.read, self.strength, self.classes = read, 1.0, classes
        self.shares = shares
        self.present = np.unique(labels[shares > 0])
        self.labels = np.searchsorted(self.present, labels).clip(max=len(self.present) - 1)
        self.used = int((shares > 0).sum())
        self._moments()
        priors = np.bincount(self.labels, shares, len(self.present))
        self.start_bias = np.log(priors) - np.log(priors).mean()
        spread, self.axes = np.linalg.eigh(np.diag(priors) - np.outer(priors, priors))
        self.spread = np.maximum(spread, 1e-12)

    def _set_strength(self, strength: float) -> None:
        self.strength, spread = float(strength), self.spread
        self.factors = np.empty((len(self.variances) + 1, len(spread)))
        self.factors[:-1] = 1 / np.sqrt(self.variances[:, None] * spread + self.strength)
        self.factors[-1] = 1 / np.sqrt(np.maximum(spread, spread[-1] * 1e-6))
        self.factors[-1, 0] = 0  # the same bias for all classes changes nothing

    def _moments(self) -> None:
        """Find mean, size and principal axes of the features in one pass."""
        first = np.asarray(self.read(0, min(_CHUNK, len(self.labels))), np.float32)
        origin = first.mean(axis=0)  # near enough to the mean that its square does not drown the variance
        width = first.shape[1]
        total, squares = np.zeros(width), np.zeros((width, width))
        for start, stop in _chunks(len(self.labels)):
            rows = np.asarray(self.read(start, stop), np.float32) - origin
            if not np.isfinite(rows).all():
                raise UserError("the features have infinite or undefined values (NaN)")
            weighted = rows * self.shares[start:stop, None].astype(np.float32)
            total += weighted.sum(axis=0, dtype=np.float64)
            squares += rows.T @ weighted
        self.mean = (origin + total).astype(np.float64)
        covariance = squares - np.outer(total, total)
        self.scale = math.sqrt(max(float(np.trace(covariance)), 0.0)) or 1.0
        variances, self.turn = np.linalg.eigh((covariance + covariance.T) / (2 * self.scale**2))
        self.variances = np.maximum(variances, 0)

    def head(self, strength: float, near: SolvedHead | None = None) -> SolvedHead:
        """Return the head at the minimum, on the original features; ``near`` is where the search begins."""
        return self.solved(self.minimum(strength, None if near is None else self._of(near)), strength)

    def _of(self, head: SolvedHead) -> Point:
        """Return the point of a head."""
        kernel, bias = head.kernel[:, self.present], head.bias[self.present]
        return self.turn.T @ kernel * self.scale, bias + self.mean @ kernel

    def minimum(self, strength: float, start: Point | None = None, precision: float | None = None) -> Point:
        """Return kernel (d, k) in the axes of the features, and bias (k,), at the minimum.

        Args:
            strength: of the penalty.
            start: where the search begins; None: a kernel of zeros.
            precision: relative change of the loss in a step below which it ends.
        """
        from scipy.optimize import minimize

        self._set_strength(strength)
        options = {"maxiter": _STEPS, "ftol": precision or _PRECISION, "gtol": 0.0, "maxcor": 10}
        flat = np.zeros(self.factors.size) if start is None else self._flat(*start)
        return self._point(minimize(self._loss, flat, jac=True, method="L-BFGS-B", options=options).x)

    def solved(self, point: Point, strength: float) -> SolvedHead:
        """Return the head of a point; see `Problem.head` for classes without samples."""
        kernel, bias = point
        kernel = kernel - kernel.mean(axis=1, keepdims=True)
        whole = np.zeros((len(self.mean), self.classes))
        whole[:, self.present] = self.turn @ kernel / self.scale
        offset = np.full(self.classes, -math.log(self.used + 1))
        offset[self.present] = bias - bias.mean() - self.mean @ whole[:, self.present]
        return SolvedHead(whole, offset, Logistic.name, float(strength))

    def _flat(self, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """Return the coordinates of a point, with the mean bias of 0."""
        turned = np.vstack([kernel, bias - self.start_bias]) @ self.axes
        flat: np.ndarray = np.divide(turned, self.factors, out=np.zeros_like(turned), where=self.factors != 0)
        return flat.ravel()

    def _point(self, flat: np.ndarray) -> Point:
        """Return kernel (d, k) in the axes of the features, and bias (k,)."""
        point = (flat.reshape(self.factors.shape) * self.factors) @ self.axes.T
        return point[:-1], point[-1] + self.start_bias

    def _loss(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Return objective and gradient at a point, by one pass over the features."""
        kernel, bias = self._point(flat)
        on_rows = (self.turn @ kernel / self.scale).astype(np.float32)
        offset = (bias - self.mean @ (self.turn @ kernel / self.scale)).astype(np.float32)
        loss, slope, slope_bias = 0.0, np.zeros(on_rows.shape), np.zeros(len(bias))
        for start, stop in _chunks(len(self.labels)):
            rows = np.asarray(self.read(start, stop), np.float32)
            logits = rows @ on_rows + offset
            logits -= logits.max(axis=1, keepdims=True)
            index, own = np.arange(stop - start), self.labels[start:stop]
            shares = self.shares[start:stop]
            right = logits[index, own].astype(np.float64)
            np.exp(logits, out=logits)
            total = logits.sum(axis=1, dtype=np.float64)
            loss += float(shares @ (np.log(total) - right))
            logits *= (shares / total)[:, None].astype(np.float32)
            logits[index, own] -= shares.astype(np.float32)
            slope += rows.T @ logits
            slope_bias += logits.sum(axis=0, dtype=np.float64)
        slope -= np.outer(self.mean, slope_bias)  # rows were not centred
        gradient = np.vstack([self.turn.T @ slope / self.scale + self.strength * kernel, slope_bias])
        loss += self.strength / 2 * float(np.square(kernel).sum())
        return loss, ((gradient @ self.axes) * self.factors).ravel()
