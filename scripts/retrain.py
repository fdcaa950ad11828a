"""`python scripts/retrain.py …` is `keras-transfer retrain …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("retrain")
