"""What a classifier is used for besides training and prediction: the methods that only pass on to other parts of the package."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from keras_transfer import text
from keras_transfer.arguments import checked
from keras_transfer.arguments.types import AnyPath, Name, Names, Positive, Printer
from keras_transfer.errors import UserError, unknown
from keras_transfer.evaluation.result import Evaluation
from keras_transfer.revise.methods import Revising


class Usage(Revising):
    """Methods of :class:`~keras_transfer.classifier.Classifier`."""

    model: Any
    metadata: dict[str, Any]
    classes: tuple[str, ...]
    run: Path | None

    def evaluate(self, data: Any = None, y: Any = None, *, batch_size: Positive = 32) -> Evaluation:
        """Measure the model."""
        raise NotImplementedError

    def save(self, path: AnyPath, golden: Any = None) -> None:
        """Write the model."""
        raise NotImplementedError

    @checked
    def score(self, data: Any = None, y: Any = None) -> float:
        """Return the accuracy in 0..1 on labelled images; see :meth:`evaluate` for what they may be."""
        return float(self.evaluate(data, y)["accuracy"])

    @checked
    def summary(self, print_fn: Printer = text.say) -> None:
        """Print the network: layer groups with output shapes and parameters, the head, and the classes.

        Args:
            print_fn: prints a line, as in ``keras.Model.summary``.
        """
        from keras_transfer.models.groups import layer_groups
        from keras_transfer.models.layer_names import head_layers

        height, width = self.metadata["image_size"]
        name, model = self.metadata["backbone"], self.model
        print_fn(f"{name}: {height} x {width} {self.metadata['color']} pixels 0..255 to {len(self.classes)} classes")
        rows = [
            (group, layers[-1].output.shape[1:], sum(layer.count_params() for layer in layers))
            for group, layers in layer_groups(model, name)
        ]
        rows += [(layer.name, layer.output.shape[1:], layer.count_params()) for layer in head_layers(model)]
        widest = max(len(row[0]) for row in rows)
        for title, shape, count in rows:
            print_fn(f"  {title:<{widest}}  {' x '.join(map(str, shape)):<16}{count:>12,} parameters")
        print_fn(f"{model.count_params():,} parameters; classes: {_shortened(self.classes)}")

    @checked
    def embed(self, images: Any, batch_size: Positive = 32) -> np.ndarray:
        """Return the features of images: what the last layer reads, for search, clustering or another classifier.

        Args:
            images: as for :meth:`predict`.
            batch_size: images per forward pass.

        Returns:
            float32 (d,) for a single image, else (n, d).

        Raises:
            UserError: an image that cannot be read.
        """
        from keras_transfer.evaluation.predict import open_images
        from keras_transfer.inference.embed import embed

        opened = open_images(images, self.metadata.get("depth"))
        found = embed(self.model, self.metadata, opened, batch_size)
        if found.skipped:
            name, reason = found.skipped[0]
            raise UserError(f"{len(found.skipped)} of {len(opened.names)} images cannot be read, e.g. {name}: {reason}")
        return found.features[0] if opened.single else found.features

    @checked
    def explain(
        self,
        images: Any,
        method: Literal["gradcam", "occlusion"] = "gradcam",
        *,
        class_name: Name | None = None,
        output: AnyPath | None = None,
    ) -> np.ndarray:
        """Return maps of what predictions are based on (:mod:`keras_transfer.explain`).

        Args:
            images: as for :meth:`predict`.
            method: ``"gradcam"`` (Selvaraju et al. 2017) or ``"occlusion"`` (Zeiler & Fergus 2014).
            class_name: the class to explain; None: the predicted class of each image.
            output: PNG file to draw the images and their maps in.

        Returns:
            float32 maps of the model's input size, (h, w) for a single image, else (n, h, w).

        Raises:
            UserError: an unknown method or class, an image that cannot be read.
        """
        from keras_transfer import plots
        from keras_transfer.evaluation.evaluate import logits_of_batch
        from keras_transfer.evaluation.metrics import require_finite
        from keras_transfer.evaluation.predict import open_images
        from keras_transfer.explain import GradCam, occlusion, overlay
        from keras_transfer.inference import transform_of

        if class_name is not None and class_name not in self.classes:
            raise unknown("class", class_name, self.classes)
        opened, transform = open_images(images, self.metadata.get("depth")), transform_of(self.metadata)
        if not opened.names:
            raise UserError("nothing to explain: expected at least one image")
        inputs = [transform(opened.open(i)) for i in range(len(opened.names))]
        cam = GradCam(self.model) if method == "gradcam" else None
        maps, titles = [], []
        for image in inputs:  # one at a time: the feature maps of many may not fit in memory
            batch = image[None]
            logits = logits_of_batch(self.model, batch)
            require_finite(logits)
            chosen = int(logits[0].argmax())
            k = chosen if class_name is None else self.classes.index(class_name)
            maps.append(cam(batch, k)[0] if cam is not None else occlusion(self.model, batch, k)[0])
            titles.append(self.classes[k])
        if output is not None:
            shown = [one for image, values in zip(inputs, maps) for one in (image, overlay(image, values))]
            names = [one for name, title in zip(opened.names, titles) for one in (Path(name).name, f"map: {title}")]
            plots.prediction_grid(shown, names, output)
        return np.asarray(maps[0] if opened.single else np.stack(maps))

    @checked
    def export(
        self,
        formats: Names,
        output: AnyPath = "export",
        precision: Literal["float32", "float16", "int8"] = "float32",
    ) -> list[dict[str, Any]]:
        """Write the model in other formats; each file is verified in its own runtime.

        Args:
            formats: e.g. ``"onnx"`` or ``["openvino", "torch"]``, see :data:`keras_transfer.export.formats`.
            output: folder for the files.
            precision: ``"float32"``, ``"float16"`` or ``"int8"``.

        Returns:
            What is stored in the JSON file beside each exported file.

        Raises:
            UserError: an unknown format or precision.
            MissingExtra: a package is not installed.
        """
        from keras_transfer.export import export

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.keras"
            self.save(file)
            return export(file, list(formats), output=output, precision=precision)

    def report(self) -> Path:
        """Write ``report.html`` of the run that the classifier was trained in, and return its path.

        Raises:
            UserError: it was not trained in a run directory.
        """
        if self.run is None:
            raise UserError(
                "a report is about a run directory, which fit() does not make; kt.fine_tune(data) and keras-transfer train do"
            )
        from keras_transfer.report.command import report

        return report(str(self.run)).report


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
