"""CIFAR-100 (Krizhevsky, "Learning multiple layers of features from tiny images", 2009)."""

from __future__ import annotations

import os
from typing import Literal

from keras_transfer.data.samples import SampleTable
from keras_transfer.data.sources import _cifar
from keras_transfer.errors import unknown

_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree
wolf woman worm"""
_COARSE = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices household_furniture
insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores
medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2"""
FINE, COARSE = tuple(_FINE.split()), tuple(_COARSE.split())


def load(path: str | os.PathLike[str] | None = None, labels: Literal["fine", "coarse"] = "fine") -> SampleTable:
    """Read CIFAR-100: 32 x 32 colour images of 100 classes in 20 superclasses, with its own test split.

    Args:
        path: a folder or tar archive: the original `cifar-100-python.tar.gz`, or class folders of images. Without it,
            `keras.datasets` downloads the original.
        labels: `"fine"` (100 classes) or `"coarse"` (20); class folders keep their names.

    Raises:
        UserError: the path is missing, damaged or holds something else, or the download fails.
    """
    if labels not in ("fine", "coarse"):
        raise unknown("kind of label", labels, ("fine", "coarse"))
    classes = FINE if labels == "fine" else COARSE
    if path is None:
        return _cifar.load_keras("cifar100", classes, label_mode=labels)
    key = f"{labels}_labels".encode()
    return _cifar.load_local(
        path,
        "meta",
        classes,
        lambda root: _cifar.read_pickles(root, ["train"], "test", key, classes, f"cifar100 {path}"),
        f"cifar100 {path}",
    )
