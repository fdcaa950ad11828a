"""Check untrusted files before loading them.

Every model file, weights file, checkpoint and array archive passes through this package first. The names, sizes and
types that a file declares are compared with fixed lists and with its length. SECURITY.md states what is guaranteed.

``archive``: zip and ``.npz`` · ``config``: Keras's config.json · ``allowed``: the classes it may name · ``hdf5``:
weights · ``pickles``: opcodes · ``model_file``: whole ``.keras`` files, the only module here that imports Keras.
"""

from __future__ import annotations

import os

from keras_transfer.errors import UserError

__all__ = ["Refused"]


class Refused(UserError):
    """A file that is unsafe, or too damaged to tell; the message names the file and the reason."""

    def __init__(self, path: str | os.PathLike[str], reason: str):
        super().__init__(f"refused {os.fspath(path)!r}: {reason}")
