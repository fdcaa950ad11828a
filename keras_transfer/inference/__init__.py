"""Use a finished run or a model file: find and load the model, open its data, evaluate and predict."""

from keras_transfer.inference.commands import evaluate, predict
from keras_transfer.inference.data import data_of, images_of
from keras_transfer.inference.model import engine_of, find_model, start, start_engine, transform_of
from keras_transfer.inference.opening import evaluation_split, training_data

__all__ = [
    "data_of",
    "engine_of",
    "evaluate",
    "evaluation_split",
    "find_model",
    "images_of",
    "predict",
    "start",
    "start_engine",
    "training_data",
    "transform_of",
]
