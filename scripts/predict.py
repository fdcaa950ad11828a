"""`python scripts/predict.py …` is `keras-transfer predict …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("predict")
