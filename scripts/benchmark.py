"""`python scripts/benchmark.py …` is `keras-transfer benchmark …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("benchmark")
