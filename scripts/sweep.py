"""`python scripts/sweep.py …` is `keras-transfer sweep …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("sweep")
