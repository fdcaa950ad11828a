"""`python scripts/doctor.py …` is `keras-transfer doctor …`."""

from keras_transfer.cli import script

if __name__ == "__main__":
    script("doctor")
