"""`python scripts/rename-class.py …` is `keras-transfer rename-class …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("rename-class")
