"""Files from strangers: looked through before anything is made of them.

Every model file, weights file, checkpoint and array archive that is read passes through this package first. Nothing
here trusts what a file says of itself: names, sizes and types are compared with fixed lists and with the file's length.
SECURITY.md says what that promises and what it does not.

``archive`` zip archives and ``.npz`` · ``config`` Keras's config.json · ``allowed`` the classes it may name · ``hdf5``
weights · ``pickles`` the opcodes of a pickle · ``model_file`` a whole ``.keras`` file. Only the last imports Keras.
"""

from __future__ import annotations

import os

from keras_transfer.errors import UserError

__all__ = ["Refused"]


class Refused(UserError):
    """A file that could do harm, or is too damaged to tell; the message names the file and what is wrong with it."""

    def __init__(self, path: str | os.PathLike[str], reason: str):
        super().__init__(f"refused {os.fspath(path)!r}: {reason}")
