"""Data-parallel training: several processes or devices compute one training, each on its share of every batch.

Each framework's own engine does the work: on torch a process group, whose processes ``torchrun`` starts, and
``DistributedDataParallel``; on jax ``keras.distribution.DataParallel``, over hosts with ``jax.distributed``; on tensorflow
``MirroredStrategy``. A :class:`~keras_transfer.distribute.group.Group` is what the rest of the package sees of them.
Importing this package imports no framework.
"""

from keras_transfer.distribute.group import ALONE, Group
from keras_transfer.distribute.place import Place, is_follower, place, resume_command

__all__ = ["ALONE", "Group", "Place", "is_follower", "place", "resume_command"]
