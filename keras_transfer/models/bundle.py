"""The model file: an ordinary ``.keras`` archive that also holds what prediction needs.

``keras.models.load_model`` reads the file without this package. Besides Keras's own members it has
``keras_transfer/metadata.json`` (class names, image size …) and ``keras_transfer/golden.npz``: a few images and the logits that
the model computed for them, which are checked on load.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np

from keras_transfer.data.images.depth import parse as parse_depth
from keras_transfer.errors import UserError
from keras_transfer.files import add_member, atomic_write, check_clock, is_trouble, temporary_folder
from keras_transfer.keras_compat.locks import EXCLUSIVE, lock_of
from keras_transfer.models.adapters import merged
from keras_transfer.models.backbones.record import BACKBONES
from keras_transfer.models.graph import flat_layers
from keras_transfer.models.novelty import NOVELTY, is_novelty, main_part, novelty_output, with_novelty
from keras_transfer.models.precision import as_float32, full_float32
from keras_transfer.options import Color, Resize
from keras_transfer.safety import Refused
from keras_transfer.safety.archive import read_npz
from keras_transfer.safety.model_file import GOLDEN, METADATA, import_hub, load_keras, opened

TOLERANCE = 1e-3
MAX_SIDE = 1 << 14
MAX_GOLDEN = 16


def save(
    model: keras.Model, path: str | Path, metadata: Mapping[str, Any], golden_images: np.ndarray | None = None
) -> None:
    """Write ``model`` and ``metadata`` to ``path`` atomically: a reader sees the old file or the new one.

    Layers are written with the float32 policy, whatever precision the model computes in. The optimizer is not written. The
    model is not changed.

    Args:
        model: a classifier.
        path: name that ends in ``.keras``; missing folders are created.
        metadata: values that JSON can represent; ``classes`` (one name per logit) is required. ``created``, ``backend``,
            ``versions`` and ``requires`` (packages whose layers the model uses) are added where they are missing.
        golden_images: uint8 (n, height, width, channels), 1 to 16 images of the model's input size.

    Raises:
        UserError: the name does not end in .keras, ``classes`` does not fit, or neither do the golden images.
        Trouble: the file cannot be written: no room on the disk, or in the temporary folder; no permission; a clock before 1980.
    """
    check_clock()
    path = _with_suffix(Path(path))
    stored = {**_created(model), **metadata}
    if stored.get(NOVELTY) and novelty_output(model) is None:
        del stored[NOVELTY]  # made for another model
    _check_classes(stored, model, path)
    if golden_images is not None:
        _check_images(golden_images, model)
    with EXCLUSIVE, temporary_folder(f"write {str(path)!r}") as folder, as_float32(model), _as_saved(model):
        # A second model of the same layers, not compiled: no optimizer is saved.
        plain = keras.Model(model.input, model.output, name=model.name)
        whole = with_novelty(plain, stored)
        aside = folder / "model.keras"
        keras.saving.save_model(whole, aside)
        with zipfile.ZipFile(aside, "a") as archive:
            # Half characters, which file names of unusual bytes become, are written as JSON's escapes.
            text = json.dumps(stored, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace")
            add_member(archive, METADATA, text)
            if golden_images is not None:
                add_member(archive, GOLDEN, _golden(plain, golden_images))
        with atomic_write(path) as out, aside.open("rb") as source:
            shutil.copyfileobj(source, out, 1 << 20)


@contextmanager
def _as_saved(model: keras.Model) -> Iterator[None]:
    """Have the model, inside the block, the layers and weights that are to be saved."""
    with merged(model), _trained_positions(model):
        yield


@contextmanager
def _trained_positions(model: keras.Model) -> Iterator[None]:
    """Have keras-hub's DINOv2 save its trained position embeddings inside the block.

    It has two sets, trains one and saves the other, which it updates only if the sum of all changes is positive.
    """
    layers = [layer for layer in flat_layers(model) if hasattr(layer, "interpolated_position_embeddings")]
    before = [np.array(keras.ops.convert_to_numpy(layer.position_embeddings)) for layer in layers]
    try:
        for layer in layers:
            layer.position_embeddings.assign(layer.interpolated_position_embeddings)
        yield
    finally:
        for layer, values in zip(layers, before):
            layer.position_embeddings.assign(values)


def load(
    path: str | Path, check: bool = True, custom_objects: Mapping[str, Any] | None = None
) -> tuple[keras.Model, dict[str, Any]]:
    """Read a model file, on any backend. The file may be untrusted: see SECURITY.md.

    Args:
        path: file that :func:`save` wrote.
        check: compute the logits of the golden images again and compare.
        custom_objects: the caller's classes that the file may name; without it, only Keras's layers are built, and those that an
            installed package registers whose backbone the file says it is made of.

    Returns:
        the model (not compiled) and its metadata.

    Raises:
        Refused: the file refers to code or other files, claims more data than it holds, or describes a model that takes more
            memory than its size can explain; its golden images are not some that :func:`save` would write.
        Trouble: there is no room to unpack it.
        UserError: the file is missing, damaged, not a Keras file or not one of this package; the class names do not
            fit; or the logits of the golden images differ by more than 1e-3 of their magnitude.
        MissingExtra: the model's layers belong to a package that is not installed.
    """
    path = Path(path)
    stored, golden = _read_members(path)
    custom_objects = {**_plugin_objects(stored.get("backbone")), **(custom_objects or {})}
    _check_required(stored, path, custom_objects)
    model = load_keras(_with_suffix(path), custom_objects, _image_of(stored))
    _check_outputs(stored, model, path)
    model = main_part(model)
    _check_classes(stored, model, path)
    if golden is not None:
        _check_batch(golden, model, path)
        if check:
            _check_golden(model, golden, path)
    return model, stored


def _plugin_objects(backbone: object) -> dict[str, Any]:
    """Return the layers of the installed package that adds this backbone, by the names that Keras saved them under.

    Who installs a package runs its code already; a file only chooses among the classes that it registers with Keras.
    """
    package = BACKBONES.plugin(backbone) if isinstance(backbone, str) else ""
    if not package:
        return {}
    BACKBONES.lookup(str(backbone))  # imports the package, which registers its classes
    registered = keras.saving.get_custom_objects()
    return {
        name: kind
        for name, kind in registered.items()
        if isinstance(kind, type) and issubclass(kind, keras.layers.Layer) and kind.__module__.split(".")[0] == package
    }


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the metadata of a model file without loading the model.

    Raises:
        UserError: as :func:`load`.
    """
    return _read_members(Path(path))[0]


def read_golden(path: str | Path) -> np.ndarray | None:
    """Return the golden images of a model file, uint8 (n, height, width, channels), or None if it has none.

    Raises:
        UserError: as :func:`load`.
    """
    golden = _read_members(Path(path))[1]
    return None if golden is None else golden["images"]


def _created(model: keras.Model) -> dict[str, Any]:
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "backend": keras.backend.backend(),
        "versions": {"keras": keras.__version__},
        "requires": sorted({type(layer).__module__.split(".")[0] for layer in flat_layers(model)} - {"keras"}),
    }


def _check_outputs(stored: Mapping[str, Any], model: keras.Model, path: Path) -> None:
    """Raise Refused unless a model has one output, or, where the metadata say so, the novelty as a second one."""
    if not (is_novelty(model) if stored.get(NOVELTY) else len(model.outputs) == 1):
        expected = "logits and novelty" if stored.get(NOVELTY) else "one, the logits"
        raise Refused(path, f"its model has {len(model.outputs)} outputs that do not fit, expected {expected}")


def _check_classes(stored: Mapping[str, Any], model: keras.Model, path: Path) -> None:
    classes, width = stored.get("classes"), model.output_shape[-1]
    if not isinstance(classes, (list, tuple)) or len(classes) != width:
        received = len(classes) if isinstance(classes, (list, tuple)) else classes
        raise UserError(f"{str(path)!r}: the model has {width} outputs, expected as many class names, got {received}")


def _image_of(stored: Mapping[str, Any]) -> tuple[int, int, int]:
    height, width = stored.get("image_size", (1, 1))
    return height, width, 1 if stored.get("color") == "grey" else 3


def _check_images(images: Any, model: keras.Model) -> None:
    """Raise UserError unless these can be golden images."""
    array = np.asarray(images)
    if array.dtype.kind in "iuf" and array.size and np.array_equal(array.astype(np.uint8), array):
        array = array.astype(np.uint8)  # whole numbers 0..255 of another type
    if not _are_golden(array, model.input_shape):
        raise UserError(
            f"golden images: expected 1 to {MAX_GOLDEN} uint8 images of the shape {tuple(model.input_shape[1:])}, "
            f"got {array.dtype} {array.shape}"
        )


def _are_golden(images: np.ndarray, taken: Any) -> bool:
    sides = len(taken) == images.ndim == 4 and all(b in (None, a) for a, b in zip(images.shape[1:], taken[1:]))
    return sides and images.dtype == np.uint8 and 1 <= len(images) <= MAX_GOLDEN and 0 not in images.shape


def _check_batch(golden: Mapping[str, np.ndarray], model: keras.Model, path: Path) -> None:
    """Judge the golden batch, before anything is computed from it or compared with it."""
    images, logits = golden["images"], golden["logits"]
    wanted = (len(images), model.output_shape[-1])
    if not _are_golden(images, model.input_shape):
        raise Refused(
            path,
            f"its golden images are {images.dtype} {images.shape}, expected 1 to {MAX_GOLDEN} of uint8 "
            f"{tuple(model.input_shape[1:])}",
        )
    if logits.dtype.kind != "f" or logits.shape != wanted or not np.isfinite(logits).all():
        raise Refused(path, f"its golden logits are {logits.dtype} {logits.shape}, expected finite numbers {wanted}")


def _golden(model: keras.Model, images: np.ndarray) -> bytes:
    stream, logits = io.BytesIO(), _logits(model, images)
    if not np.isfinite(logits).all():  # which `load` would refuse
        raise UserError(
            "the model is not saved: its outputs for the golden images are not finite; it has diverged (try a lower learning rate), "
            "or has weights that are not numbers"
        )
    np.savez(stream, images=np.asarray(images, np.uint8), logits=logits)
    return stream.getvalue()


def _logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    with full_float32(), lock_of(model):
        # One by one: the memory that a batch takes must not be the file's to choose.
        parts = [model.predict_on_batch(np.asarray(images[i : i + 1], np.float32)) for i in range(len(images))]
        return np.concatenate([np.asarray(part, np.float32) for part in parts])


def _check_golden(model: keras.Model, golden: Mapping[str, np.ndarray], path: Path) -> None:
    expected = golden["logits"]
    try:
        received = _logits(model, golden["images"])
    # Keras and the frameworks raise many kinds of errors for settings that only computing reads.
    except Exception as error:
        if is_trouble(error):
            raise
        reason = re.sub(r"\x1b\[[\d;]*m", "", " ".join(str(error).split()))[:200] or type(error).__name__
        raise UserError(f"{str(path)!r}: its model cannot be computed: {reason}") from error
    with np.errstate(all="ignore"):  # what is not finite fails below
        difference = float(np.max(np.abs(received - expected)))
    # The smaller of the two magnitudes: a huge number in the file must not excuse any difference.
    scale = max(1.0, min(float(np.max(np.abs(expected))), float(np.max(np.abs(received)))))
    if not difference <= TOLERANCE * scale:  # NaN fails too
        raise UserError(
            f"{str(path)!r} gives other predictions than when it was saved: logits differ by {difference:.2g}"
            f" (allowed {TOLERANCE * scale:.2g}); load(path, check=False) skips this check"
        )


def _read_members(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray] | None]:
    with opened(path) as archive:
        members = archive.namelist()
        if METADATA not in members:
            raise UserError(
                f"{str(path)!r} is a plain Keras file without class names; load it with keras.models.load_model"
            )
        try:
            stored = json.loads(archive.read(METADATA))
            golden = None
            if GOLDEN in members:
                golden = read_npz(io.BytesIO(archive.read(GOLDEN)), path, ("images", "logits"), 1 << 28)
        except (zipfile.BadZipFile, EOFError, KeyError, ValueError, RecursionError) as error:
            raise UserError(f"{str(path)!r} is not a Keras model file, or is damaged: {error}") from error
    _check_stored(stored, path)
    if golden is not None and (set(golden) != {"images", "logits"} or golden["images"].dtype != np.uint8):
        raise UserError(f"{str(path)!r}: damaged golden images")
    return stored, golden


def _check_stored(stored: Any, path: Path) -> None:
    """Check the metadata that prediction reads."""
    if not isinstance(stored, dict):
        raise UserError(f"{str(path)!r}: damaged metadata")
    classes = stored.get("classes")
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise UserError(f"{str(path)!r}: damaged metadata: class names that are not text")
    size = stored.get("image_size", [1, 1])
    good = isinstance(size, list) and len(size) == 2 and all(type(n) is int and 0 < n <= MAX_SIDE for n in size)
    if not good:
        raise UserError(f"{str(path)!r}: damaged metadata: image_size {str(size)[:100]}")
    for key, valid in (("color", get_args(Color)), ("resize", get_args(Resize))):
        if stored.get(key, valid[0]) not in valid:
            raise UserError(f"{str(path)!r}: damaged metadata: {key} {str(stored[key])[:100]!r}")
    try:
        parse_depth(stored.get("depth"))
    except UserError as error:
        raise UserError(f"{str(path)!r}: damaged metadata: {error}") from None
    _check_task(stored, path)
    novelty = stored.get(NOVELTY)
    if novelty is not None and not (
        isinstance(novelty, dict) and isinstance(novelty.get("rate"), float) and 0 < novelty["rate"] < 1
    ):
        raise UserError(f"{str(path)!r}: damaged metadata: {NOVELTY} {str(novelty)[:100]}")
    _check_decisions(stored, path)


def _check_task(stored: Mapping[str, Any], path: Path) -> None:
    """Check what is said about several labels per image."""
    if stored.get("task", "multi") != "multi":
        raise UserError(f"{str(path)!r}: damaged metadata: task {str(stored['task'])[:100]!r}")
    limits = stored.get("thresholds", [])
    numbers = isinstance(limits, list) and all(type(limit) in (int, float) and 0 <= limit <= 1 for limit in limits)
    classes = stored.get("classes")
    if not numbers or (limits and isinstance(classes, list) and len(limits) != len(classes)):
        raise UserError(f"{str(path)!r}: damaged metadata: thresholds {str(limits)[:100]}")


def _check_decisions(stored: Mapping[str, Any], path: Path) -> None:
    """Check costs and ranks of the classes, which predictions are decided by."""
    count = len(stored.get("classes") or ())
    for key, shape in (("costs", (count, count)), ("ranks", (count,))):
        given = stored.get(key)
        try:
            values = None if given is None else np.array(given, np.float64)
        except (TypeError, ValueError):
            values = np.empty(0)
        if values is not None and (values.shape != shape or not np.isfinite(values).all() or (values < 0).any()):
            raise UserError(f"{str(path)!r}: damaged metadata: {key}, expected numbers {shape} of at least 0")
        if key == "ranks" and values is not None and sorted(values.tolist()) != list(range(count)):
            raise UserError(f"{str(path)!r}: damaged metadata: ranks, expected each of 0 to {count - 1} once")


def _check_required(stored: Mapping[str, Any], path: Path, custom_objects: Mapping[str, Any] | None) -> None:
    """Raise an error that names the package a model needs, before the first of its layers is refused."""
    requires = stored.get("requires", [])
    for package in requires if isinstance(requires, list) else []:
        if package == "keras_hub":
            import_hub(path)
        elif not custom_objects:
            raise Refused(path, f"it uses layers of {str(package)[:100]!r}, which only custom_objects can allow")


def _with_suffix(path: Path) -> Path:
    if path.suffix != ".keras":
        raise UserError(f"a model file's name ends in .keras, got {str(path)!r}")
    return path
