"""What the ``explain`` command does: an image of images and their maps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_transfer.errors import UserError, unknown
from keras_transfer.files import check_output, write_json

METHODS = ("gradcam", "occlusion", "top-losses", "residuals")


class _Shown(NamedTuple):
    """An image in the figure: what the model sees, its name, and the true class if it is known."""

    image: np.ndarray
    name: str
    label: int | None = None


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
    """Draw images beside what speaks for a class in them, and print a line each; or what residual blocks do with them.

    Args:
        method: ``gradcam``, ``occlusion``, ``top-losses``: the labelled images that the model gets most wrong, with
            Grad-CAM of what it took them for; or ``residuals``: a table and an image of the blocks of a residual network.
        source: run directory or model file.
        paths: images or folders; without any, images of the run's own data. For ``top-losses`` one data source.
        output: the PNG to write.
        count: most images to draw.
        split: of the run's data: ``train``, ``val``, ``test`` or ``all``.
        class_name: the class to explain; None: the most probable one of each image.
        layer: whose feature map Grad-CAM shows; None: the last. For ``residuals``: the block whose feature maps are
            drawn; None: the first, one in the middle and the last.
        json_file: where to write the table of ``residuals``, too.
        backend: Keras backend.
        device: where to compute.

    Raises:
        UserError: an unknown method, class or layer; nothing to explain; a file that cannot be written.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    _check(method, paths, output, class_name, layer, json_file)
    from keras_transfer.evaluation.evaluate import logits_of_batch
    from keras_transfer.evaluation.metrics import log_softmax
    from keras_transfer.inference import start

    model, metadata, run = start(source, backend, device)
    if method == "residuals":
        _residuals(
            model,
            lambda: _images(method, model, metadata, run, source, paths, split, count),
            output,
            layer,
            json_file,
        )
        return
    from keras_transfer.explain.grad_cam import GradCam  # these import Keras, whose backend is settled now
    from keras_transfer.explain.occlude import occlusion

    classes = [str(name) for name in metadata["classes"]]
    if class_name is not None and class_name not in classes:
        raise unknown("class", class_name, classes)
    cam = GradCam(model, layer) if method != "occlusion" else None
    shown = _images(method, model, metadata, run, source, paths, split, count)
    images = np.stack([one.image for one in shown])
    probabilities = np.exp(log_softmax(np.concatenate([logits_of_batch(model, image[None], 1) for image in images])))
    chosen = probabilities.argmax(axis=1)
    if class_name is not None:
        chosen[:] = classes.index(class_name)
    one_by_one = zip(images, chosen)  # a feature map of many images may be large
    maps = [(cam or _bind(occlusion, model))(image[None], int(k))[0] for image, k in one_by_one]
    _draw(shown, maps, classes, chosen, probabilities, output, method)


def _check(
    method: str, paths: list[str], output: str | Path, class_name: str | None, layer: str | None, json_file: str | None
) -> None:
    """Refuse what can be refused before a framework is loaded."""
    from keras_transfer.evaluation.predict import find_images

    check_output("--output", output, ".png")
    check_output("--json", json_file)
    if json_file is not None and method != "residuals":
        raise UserError(f"{method} makes an image only: leave out --json")
    if method == "residuals" and class_name is not None:
        raise UserError("residuals looks at features and not at classes: leave out --class")
    if method == "occlusion" and layer is not None:
        raise UserError("occlusion looks at predictions only: leave out --layer")
    if method == "top-losses":
        if len(paths) > 1:
            raise UserError("top-losses takes one data source (folder, list, CSV or .npz) in place of the run's own")
        if class_name is not None:
            raise UserError("top-losses explains the class that each image was taken for: leave out --class")
    elif paths:
        find_images(paths)


def _residuals(
    model: Any, images: Callable[[], list[_Shown]], output: str | Path, layer: str | None, json_file: str | None
) -> None:
    """Print, write and draw what the blocks of a residual network add to their shortcuts."""
    from rich.console import Console

    from keras_transfer.explain.blocks import Residuals, as_json, blocks_table
    from keras_transfer.plots import residual_blocks

    found = Residuals(model)
    names = [block.name for block in found.blocks]
    if layer is not None and layer not in names:
        raise unknown("block", layer, names)
    shown = images()
    sizes = found.measure(np.stack([one.image for one in shown]))
    Console().print(blocks_table(sizes))
    if json_file is not None:
        write_json(json_file, {"images": [one.name for one in shown], "blocks": as_json(sizes)})
    chosen = [layer] if layer else list(dict.fromkeys((names[0], names[len(names) // 2], names[-1])))
    maps = [(name, *found.maps(shown[0].image, name)) for name in chosen]
    first = Path(shown[0].name).name
    title = first if len(shown) == 1 else f"{len(shown)} images; maps of {first}"
    residual_blocks(sizes, maps, output, title=f"Residual blocks: {title}")


def _bind(method: Any, model: Any) -> Any:
    return lambda images, class_index: method(model, images, class_index)


def _images(
    method: str, model: Any, metadata: Any, run: Any, source: Any, paths: list[str], split: str, count: int
) -> list[_Shown]:
    from keras_transfer.explain.losses import top_losses
    from keras_transfer.inference import images_of, transform_of

    transform = transform_of(metadata)
    if method != "top-losses" and paths:
        return _files(paths, transform, count)
    if run is None and not paths:
        raise UserError(f"{source} is a model file without its run: name the images to explain")
    labelled = images_of(run, source, metadata, paths[0] if paths else None, split)
    if method == "top-losses":
        positions = [one.position for one in top_losses(model, labelled, transform, count)]
    else:
        positions = list(np.linspace(0, len(labelled) - 1, min(count, len(labelled))).astype(int))
    return [_Shown(transform(labelled.read(i)), labelled.image_name(i), int(labelled.labels[i])) for i in positions]


def _files(paths: list[str], transform: Any, count: int) -> list[_Shown]:
    from keras_transfer.data.samples import FileStore
    from keras_transfer.evaluation.predict import find_images

    shown = list(_readable(FileStore(find_images(paths), None), transform, count))
    if not shown:
        raise UserError("none of the images could be read")
    return shown


def _readable(store: Any, transform: Any, count: int) -> Iterator[_Shown]:
    from keras_transfer.data.images.store import BadImage

    found = 0
    for i in range(len(store)):
        if found == count:
            print(f"explained: the first {count} of {len(store)} images; --count takes more", file=sys.stderr)
            return
        try:
            image = transform(store.open(i))
        except BadImage as error:
            print(f"skipped: {error.name}: {error.reason}", file=sys.stderr)
            continue
        found += 1
        yield _Shown(image, store.name(i))


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
        truth = "" if one.label is None else f"is {classes[one.label]}, {row[one.label]:.1%}"
        said = f"{classes[k]}, {row[k]:.1%}"
        print(f"{one.name}: {said}" + (f" ({truth})" if truth else ""))
        images += [one.image, overlay(one.image, values)]
        titles += [f"{Path(one.name).name}\n{truth}", f"{said}\n"]
        right += [one.label in (None, row.argmax())] * 2
    title = {"gradcam": "Grad-CAM", "occlusion": "Occlusion", "top-losses": "Highest losses, with Grad-CAM"}[method]
    prediction_grid(images, titles, output, title=title, right=None if shown[0].label is None else right)
