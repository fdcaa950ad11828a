"""`python scripts/backbones.py …` is `keras-transfer backbones …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("backbones")
