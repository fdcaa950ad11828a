"""The ``explain`` command: a plot of images beside their explanation maps, or of the blocks of a residual network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_transfer import text
from keras_transfer.console import progress, wrote
from keras_transfer.errors import UserError, unknown
from keras_transfer.files import check_output, write_json

METHODS = ("gradcam", "occlusion", "top-losses", "residuals")


class _Shown(NamedTuple):
    """An image of the plot: the model's input, its name, and the true class if it is known, or several labels by name."""

    image: np.ndarray
    name: str
    label: int | None = None
    labels: tuple[str, ...] | None = None


# Eleven parameters: one for each option of the command.
def explain(
    method: str,
    source: str | Path,
    paths: list[str],
    output: str | Path,
    *,
    count: int = 12,
    split: str = "test",
    class_name: str | None = None,
    layer: str | None = None,
    json_file: str | None = None,
    backend: str | None = None,
    device: str | None = None,
) -> None:
    """Plot images with their explanation maps and print one line per image, or measure residual blocks.

    Args:
        method: ``gradcam``; ``occlusion``; ``top-losses``: the labelled images with the highest loss, with the Grad-CAM
            map of the predicted class; or ``residuals``: a table and a plot of the blocks of a residual network.
        source: run directory or model file.
        paths: images or folders; if empty, images of the run's own data. For ``top-losses``: at most one data source.
        output: the PNG file to write.
        count: maximum number of images.
        split: part of the run's data: ``train``, ``val``, ``test`` or ``all``.
        class_name: the class to explain; None: the predicted class of each image; where an image may have several labels, each that it has
            by the model's thresholds (without any, the most probable).
        layer: the layer whose feature map Grad-CAM uses; None: the last one. For ``residuals``: the block whose feature
            maps are drawn; None: the first, a middle and the last one.
        json_file: also write the table of ``residuals`` to this JSON file.
        backend: Keras backend.
        device: compute device.

    Raises:
        UserError: unknown method, class or layer; nothing to explain; a file that cannot be written.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    _check(method, paths, output, class_name, layer, json_file)
    from keras_transfer.inference import start

    model, metadata, run = start(source, backend, device)
    images = partial(_images, method, model, metadata, run, source, paths, split, count)
    if method == "residuals":
        _residuals(model, images, output, layer, json_file)
    else:
        _maps(method, model, metadata, images, class_name, layer, output)
    wrote(output)


def _check(
    method: str, paths: list[str], output: str | Path, class_name: str | None, layer: str | None, json_file: str | None
) -> None:
    """Reject bad arguments before a framework is loaded."""
    from keras_transfer.evaluation.predict import find_images

    check_output("--output", output, ".png")
    check_output("--json", json_file)
    if json_file is not None and method != "residuals":
        raise UserError(f"{method} writes a plot only: leave out --json")
    if method == "residuals" and class_name is not None:
        raise UserError("residuals does not depend on a class: leave out --class")
    if method == "occlusion" and layer is not None:
        raise UserError("occlusion does not depend on a layer: leave out --layer")
    if method == "top-losses":
        if len(paths) > 1:
            raise UserError("top-losses takes one data source (folder, list, CSV or .npz) instead of the run's own")
        if class_name is not None:
            raise UserError("top-losses explains the predicted class of each image: leave out --class")
    elif paths:
        find_images(paths)


def _residuals(
    model: Any, images: Callable[[], list[_Shown]], output: str | Path, layer: str | None, json_file: str | None
) -> None:
    """Print, write and plot what the blocks of a residual network add to their shortcuts."""
    from rich.console import Console

    from keras_transfer.explain.blocks import Residuals, blocks_table
    from keras_transfer.plots import residual_blocks

    found = Residuals(model)
    names = [block.name for block in found.blocks]
    if layer is not None and layer not in names:
        raise unknown("block", layer, names)
    shown = images()
    sizes = found.measure(np.stack([one.image for one in shown]))
    Console().print(blocks_table(sizes))
    if json_file is not None:
        blocks = [dataclasses.asdict(one) for one in sizes]
        write_json(json_file, {"images": [one.name for one in shown], "blocks": blocks})
        wrote(json_file)
    chosen = [layer] if layer else list(dict.fromkeys((names[0], names[len(names) // 2], names[-1])))
    maps = [(name, *found.maps(shown[0].image, name)) for name in chosen]
    first = Path(shown[0].name).name
    title = first if len(shown) == 1 else f"{len(shown)} images; maps of {first}"
    residual_blocks(sizes, maps, output, title=f"Residual blocks: {title}")


def _maps(
    method: str,
    model: Any,
    metadata: dict[str, Any],
    images: Callable[[], list[_Shown]],
    class_name: str | None,
    layer: str | None,
    output: str | Path,
) -> None:
    """Compute the explanation map of every image and plot them."""
    from keras_transfer.evaluation.evaluate import logits_of_batch
    from keras_transfer.evaluation.tasks import is_multi, thresholds_of
    from keras_transfer.evaluation.tasks import probabilities as shares_of
    from keras_transfer.explain.grad_cam import GradCam
    from keras_transfer.explain.occlude import occlusion

    classes = [str(name) for name in metadata["classes"]]
    if class_name is not None and class_name not in classes:
        raise unknown("class", class_name, classes)
    explain_batch = partial(occlusion, model) if method == "occlusion" else GradCam(model, layer)
    shown = images()
    batches = [one.image[None] for one in shown]  # one image each: the feature maps of many may not fit in memory
    logits = np.concatenate([logits_of_batch(model, batch, 1) for batch in batches])
    probabilities = shares_of(logits, is_multi(metadata))
    chosen = probabilities.argmax(axis=1)
    if class_name is not None:
        chosen[:] = classes.index(class_name)
    elif is_multi(metadata):
        rows, chosen = each_label(probabilities, thresholds_of(metadata))
        shown, batches = [shown[i] for i in rows], [batches[i] for i in rows]
        probabilities = probabilities[rows]
    maps = []
    with progress(f"maps of {len(batches)} images", len(batches)) as advance:
        for batch, k in zip(batches, chosen):
            maps.append(explain_batch(batch, int(k))[0])
            advance(1)
    _draw(shown, maps, classes, chosen, probabilities, output, method)


def each_label(probabilities: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return image and label of each map, int64 (m,): every label from its threshold on, or the most probable one of an image without.

    Args:
        probabilities: float (n, C).
        thresholds: float (C,).
    """
    has = probabilities >= thresholds
    without = np.flatnonzero(~has.any(axis=1))
    has[without, probabilities[without].argmax(axis=1)] = True
    rows, labels = np.nonzero(has)
    return rows, labels


def _images(
    method: str, model: Any, metadata: Any, run: Any, source: Any, paths: list[str], split: str, count: int
) -> list[_Shown]:
    from keras_transfer.explain.losses import top_losses
    from keras_transfer.inference import images_of, transform_of

    transform = transform_of(metadata)
    if method != "top-losses" and paths:
        return _files(paths, transform, count, metadata.get("depth"))
    if run is None and not paths:
        raise UserError(f"{source} is a model file without a run: name the images to explain")
    labelled = images_of(run, source, metadata, paths[0] if paths else None, split, print)
    if method == "top-losses":
        positions = [one.position for one in top_losses(model, labelled, transform, count)]
    else:
        positions = list(np.linspace(0, len(labelled) - 1, min(count, len(labelled))).astype(int))
    if labelled.is_multi:
        return [
            _Shown(transform(labelled.read(i)), labelled.image_name(i), labels=labelled.names_of(i)) for i in positions
        ]
    return [_Shown(transform(labelled.read(i)), labelled.image_name(i), int(labelled.labels[i])) for i in positions]


def _files(paths: list[str], transform: Any, count: int, depth: Any) -> list[_Shown]:
    from keras_transfer.data.images.depth import parse as parse_depth
    from keras_transfer.data.images.store import BadImage
    from keras_transfer.data.samples import FileStore
    from keras_transfer.evaluation.predict import find_images

    store = FileStore(find_images(paths), None, parse_depth(depth))
    shown: list[_Shown] = []
    for i in range(len(store)):
        if len(shown) == count:
            text.complain(f"explained the first {count} of {len(store)} images; raise --count for more")
            break
        try:
            shown.append(_Shown(transform(store.open(i)), store.name(i)))
        except BadImage as error:
            text.complain(f"skipped: {text.one_line(error.name)}: {text.one_line(error.reason)}")
    if not shown:
        raise UserError("none of the images can be read")
    return shown


def _draw(
    shown: list[_Shown],
    maps: list[np.ndarray],
    classes: list[str],
    chosen: np.ndarray,
    probabilities: np.ndarray,
    output: str | Path,
    method: str,
) -> None:
    from keras_transfer.explain.colours import overlay
    from keras_transfer.plots import prediction_grid

    images, titles, right = [], [], []
    for one, values, k, row in zip(shown, maps, chosen, probabilities):
        truth = "" if one.label is None else f"true: {classes[one.label]}, {row[one.label]:.1%}"
        if one.labels is not None:
            truth = f"true: {', '.join(one.labels) or 'no label'}"
        explained = f"{classes[k]}, {row[k]:.1%}"
        text.say(text.one_line(f"{one.name}: {explained}" + (f" ({truth})" if truth else "")))
        images += [one.image, overlay(one.image, values)]
        titles += [f"{Path(one.name).name}\n{truth}", f"map: {explained}\n"]
        right += [one.label in (None, row.argmax())] * 2
    title = {"gradcam": "Grad-CAM", "occlusion": "Occlusion", "top-losses": "Highest losses, with Grad-CAM"}[method]
    prediction_grid(images, titles, output, title=title, right=None if shown[0].label is None else right)
