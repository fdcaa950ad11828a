"""`python scripts/export.py …` is `keras-transfer export …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("export")
