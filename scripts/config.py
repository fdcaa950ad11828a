"""`python scripts/config.py …` is `keras-transfer config …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("config")
