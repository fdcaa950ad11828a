"""`python scripts/suggest.py …` is `keras-transfer suggest …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("suggest")
