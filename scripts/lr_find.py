"""`python scripts/lr_find.py …` is `keras-transfer lr-find …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("lr-find")
