"""`python scripts/parity.py …` is `keras-transfer parity …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("parity")
