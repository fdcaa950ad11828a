"""`python scripts/explain.py …` is `keras-transfer explain …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("explain")
