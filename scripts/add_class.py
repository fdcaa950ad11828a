"""`python scripts/add-class.py …` is `keras-transfer add-class …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("add-class")
