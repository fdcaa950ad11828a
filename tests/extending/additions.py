"""A program that adds an augmentation, an export format and a section of the report, and runs a command with them."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import DictLoader

from keras_transfer.data.augment import AUGMENTATIONS, Augmentation


@dataclass(frozen=True)
class Negative(Augmentation):
    """Invert the colours of every image."""

    name = "negative"
    least: int = 0

    def apply(self, plan: Any, rng: np.random.Generator) -> None:
        """Add to the plan."""
        plan.colors.append(("table", np.arange(255, self.least - 1, -1).astype(np.uint8)))


def write(model: Any, path: Path, metadata: dict[str, str], precision: str, images: np.ndarray) -> None:
    """Write the model as Keras does."""
    model.save(path)


def open_file(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Load it again."""
    import keras

    return keras.models.load_model(path).predict_on_batch


if __name__ == "__main__":
    from keras_transfer.cli import main
    from keras_transfer.export.formats import FORMATS, Format
    from keras_transfer.html.templates import environment
    from keras_transfer.report.sections import SECTIONS

    AUGMENTATIONS["negative"] = Negative
    FORMATS["copy"] = Format("copy", "a copy", "copy.keras", implementation="additions")
    SECTIONS["weather"] = ("Weather", lambda view: {"sky": f"blue over {view.config.name}"})
    environment("keras_transfer.report").loader.loaders.append(DictLoader({"weather.html": "<p>{{ section.sky }}</p>"}))
    sys.exit(main(sys.argv[1:]))
