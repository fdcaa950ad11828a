"""`python scripts/serve.py …` is `keras-transfer serve …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("serve")
