"""`python scripts/shard.py …` is `keras-transfer shard …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("shard")
