"""`python scripts/train.py …` is `keras-transfer train …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("train")
