"""`python scripts/report.py …` is `keras-transfer report …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("report")
