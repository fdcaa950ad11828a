"""`python scripts/remove-class.py …` is `keras-transfer remove-class …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("remove-class")
