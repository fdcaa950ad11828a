"""`python scripts/embed.py …` is `keras-transfer embed …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("embed")
