"""``python -m keras_transfer`` is ``keras-transfer``."""

import sys

from keras_transfer.cli import main

sys.exit(main())
