"""`python scripts/completion.py …` is `keras-transfer completion …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("completion")
