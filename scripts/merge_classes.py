"""`python scripts/merge-classes.py …` is `keras-transfer merge-classes …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("merge-classes")
