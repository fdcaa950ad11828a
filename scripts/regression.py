"""`python scripts/regression.py …` is `keras-transfer regression …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("regression")
