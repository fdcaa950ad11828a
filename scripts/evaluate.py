"""`python scripts/evaluate.py …` is `keras-transfer evaluate …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("evaluate")
