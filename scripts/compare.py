"""`python scripts/compare.py …` is `keras-transfer compare …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("compare")
