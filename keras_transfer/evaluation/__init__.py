"""Evaluate a classifier on a split (`evaluate`, `metrics`) and apply it to new images (`predict`).

Importing this package imports neither Keras nor a framework.
"""

from keras_transfer.evaluation.evaluate import evaluate_split, predict_logits
from keras_transfer.evaluation.judged import OUT_OF_FOLD, Judged, judged
from keras_transfer.evaluation.leaderboard import Entry, Leaderboard
from keras_transfer.evaluation.metrics import classification_metrics, log_softmax, most_confused
from keras_transfer.evaluation.predict import Prediction, predict_files
from keras_transfer.evaluation.table import metrics_table

__all__ = [
    "OUT_OF_FOLD",
    "Entry",
    "Judged",
    "Leaderboard",
    "Prediction",
    "classification_metrics",
    "evaluate_split",
    "judged",
    "log_softmax",
    "metrics_table",
    "most_confused",
    "predict_files",
    "predict_logits",
]
