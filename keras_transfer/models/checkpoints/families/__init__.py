"""The table of families. To add one: a file with ``FAMILY``, a line in ``FAMILIES``."""

from __future__ import annotations

from keras_transfer.models.checkpoints.families import (
    beit,
    convnext,
    densenet,
    eva,
    fastvit,
    hgnet,
    inception,
    inception_v4,
    mobile,
    mobile_transformers,
    regnet,
    repvgg,
    repvit,
    resnet,
    resnetv2,
    swin,
    vgg,
    vit,
    vit_transformers,
    xception,
)
from keras_transfer.models.checkpoints.families.family import Family

__all__ = ["FAMILIES", "Family"]

FAMILIES: tuple[Family, ...] = (
    vit.FAMILY,
    eva.FAMILY,
    beit.FAMILY,
    beit.FAMILY_OF_TRANSFORMERS,
    vit_transformers.FAMILY,
    swin.FAMILY,
    convnext.FAMILY,
    resnet.FAMILY,
    regnet.FAMILY,
    densenet.FAMILY,
    repvit.FAMILY,
    repvgg.FAMILY,
    vgg.FAMILY,
    fastvit.FAMILY,
    fastvit.WITH_ATTENTION,
    resnetv2.FAMILY,
    resnetv2.BIG_TRANSFER,
    xception.FAMILY,
    xception.FIRST,
    inception.FAMILY,
    inception_v4.FAMILY,
    hgnet.FAMILY,
    mobile.FAMILY,
    mobile.HYBRID,
    mobile_transformers.FAMILY,
)
