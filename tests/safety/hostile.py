"""Hostile files, generated: loaded carelessly, each would write a marker file, read another file or exhaust memory.

``FILES`` maps a name to (text that the refusal must contain, the reader to test, function that writes the file).
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

GIB = 1 << 30
FILES: dict[str, tuple[str, str, Callable[[Path, Path], Path]]] = {}


def hostile(expected: str, reader: str = "model"):
    def register(make):
        FILES[make.__name__] = (expected, reader, make)
        return make

    return register


class Base:
    """A valid model file of the tiny backbone, to be modified."""

    def __init__(self, path: Path):
        with zipfile.ZipFile(path) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}

    def write(
        self, path: Path, extra: Callable[[zipfile.ZipFile], None] = lambda archive: None, **members: Any
    ) -> Path:
        keys = {"config": "config.json", "weights": "model.weights.h5", "golden": "keras_transfer/golden.npz"}
        chosen = {**self.members, **{keys[key]: value for key, value in members.items()}}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in chosen.items():
                archive.writestr(name, content)
            extra(archive)
        return path

    def with_layer(self, path: Path, layer: dict[str, Any]) -> Path:
        """Write the model with ``layer`` in place of its dropout."""
        config = json.loads(self.members["config.json"])
        layers = config["config"]["layers"]
        place = next(i for i, found in enumerate(layers) if found["name"] == "dropout")
        kept = {key: layers[place][key] for key in ("name", "inbound_nodes")}
        layers[place] = {"module": "keras.layers", "registered_name": None, "build_config": None, **layer, **kept}
        layers[place]["config"] = (
            {"name": "dropout", **layer["config"]} if type(layer["config"]) is dict else layer["config"]
        )
        return self.write(path, config=json.dumps(config))

    def with_setting(self, path: Path, name: str, **settings: Any) -> Path:
        config = json.loads(self.members["config.json"])
        layer = next(found for found in config["config"]["layers"] if found["name"] == name)
        layer["config"].update(settings)
        return self.write(path, config=json.dumps(config))

    def with_weights(self, path: Path, change: Callable[[h5py.File], None]) -> Path:
        stream = io.BytesIO(self.members["model.weights.h5"])
        with h5py.File(stream, "a") as file:
            change(file)
        return self.write(path, weights=stream.getvalue())


def function(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def activation(base: Path, path: Path, value: Any) -> Path:
    return Base(base).with_layer(path, {"class_name": "Activation", "config": {"activation": value}})


# Code in the configuration


@hostile("keras.layers.Lambda")
def lambda_layer(base, path):
    import keras

    marker = str(path.parent / "marker")
    layer = keras.layers.Lambda(lambda x, p=marker: (open(p, "w"), x)[1])  # noqa: PTH123, SIM115
    return Base(base).with_layer(path, json.loads(json.dumps(keras.saving.serialize_keras_object(layer))))


@hostile("__lambda__")
def lambda_as_activation(base, path):
    value = {"code": "", "defaults": None, "closure": None}
    return activation(base, path, {"class_name": "__lambda__", "config": {"value": value}})


@hostile("the function os.system")
def function_of_any_module_cve_2025_1550(base, path):
    return activation(base, path, function("os", "system"))


@hostile("the function keras.utils.get_file")
def download_by_keras_utils_cve_2025_8747(base, path):
    return activation(base, path, function("keras.utils", "get_file"))


@hostile("the function keras.config.enable_unsafe_deserialization")
def safe_mode_switched_off_cve_2025_9906(base, path):
    return activation(base, path, function("keras.config", "enable_unsafe_deserialization"))


@hostile("keras.layers.TFSMLayer")
def saved_model_layer_cve_2026_1462(base, path):
    config = {"filepath": str(path.parent / "saved_model"), "call_endpoint": "serve"}
    return Base(base).with_layer(path, {"class_name": "TFSMLayer", "config": config})


@hostile("keras.layers.TorchModuleWrapper")
def pickled_torch_module(base, path):
    module = pickle.dumps(Touch(path.parent / "marker")).decode("latin1")
    return Base(base).with_layer(path, {"class_name": "TorchModuleWrapper", "config": {"module": module}})


@hostile("keras.layers.StringLookup")
def vocabulary_from_another_file(base, path):
    return Base(base).with_layer(path, {"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}})


@hostile("keras_hub.src.models.bert.bert_tokenizer.BertTokenizer")
def tokenizer_of_keras_hub(base, path):
    layer = {"module": "keras_hub.src.models.bert.bert_tokenizer", "class_name": "BertTokenizer"}
    return Base(base).with_layer(path, {**layer, "config": {"vocabulary": "/etc/passwd"}})


@hostile("registered object 'Package>Loader'")
def registered_class_of_the_process(base, path):
    return Base(base).with_layer(path, {"class_name": "Dropout", "registered_name": "Package>Loader", "config": {}})


@hostile("registered object 'Package>loader'")
def registered_function_by_string(base, path):
    return activation(base, path, "Package>loader")


@hostile("Dense (without its module)")
def legacy_object_without_module(base, path):
    return activation(base, path, {"class_name": "Dense", "config": {"units": 1}})


@hostile("evil.module.Dropout")
def class_of_any_module(base, path):
    return Base(base).with_layer(path, {"class_name": "Dropout", "module": "evil.module", "config": {}})


@hostile("nested too deeply")
def nesting(base, path):
    return Base(base).write(
        path, config=b'{"class_name": "Functional", "config": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    )


@hostile("occurs twice in one object")
def key_that_occurs_twice(base, path):
    config = Base(base).members["config.json"].decode()
    return Base(base).write(path, config=config[:-1] + ', "class_name": "Lambda"}')


@hostile("asks for weights")
def layer_of_a_terabyte(base, path):
    return Base(base).with_setting(path, "logits", units=1 << 24)


@hostile("too large to compute")
def image_of_a_terabyte(base, path):
    padding = {"padding": [[1 << 18, 1 << 18], [1 << 18, 1 << 18]], "data_format": "channels_last"}
    config = json.loads(Base(base).members["config.json"])
    first = next(layer for layer in config["config"]["layers"] if layer["name"] == "block1_pool")
    first["class_name"], first["config"] = "ZeroPadding2D", {"name": "block1_pool", **padding}
    return Base(base).write(path, config=json.dumps(config))


# The archive


def member(path: Path, base: Path, name: str, content: bytes = b"x", mode: int = 0) -> Path:
    def add(archive):
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, content)

    return Base(base).write(path, add)


@hostile("leads out of the archive")
def member_in_the_parent_folder_ghsa_hqp4_2352_xf5r(base, path):
    return member(path, base, "assets/../../marker")


@hostile("leads out of the archive")
def member_with_an_absolute_path(base, path):
    return member(path, base, str(path.parent / "marker"))


@hostile("leads out of the archive")
def member_with_a_windows_path(base, path):
    return member(path, base, "..\\marker")


@hostile("a link")
def member_that_is_a_link(base, path):
    return member(path, base, "assets", str(path.parent).encode(), 0o120777)


@hostile("not expected in such a file")
def member_that_is_not_expected(base, path):
    return member(path, base, "assets/vocabulary.txt")


@hostile("occurs twice")
def member_that_occurs_twice(base, path):
    return member(path, base, "config.json", b"{}")


@hostile("encrypted")
def member_that_is_encrypted(base, path):
    content = bytearray(Base(base).write(path).read_bytes())
    at = content.rindex(b"PK\1\2")  # the last entry of the directory
    content[at + 8] |= 1
    path.write_bytes(content)
    return path


@hostile("damaged")
def member_whose_own_header_names_no_text(base, path):
    """The directory has the right name, the member's header bytes that are no UTF-8 and say that they are."""
    content = bytearray(Base(base).write(path).read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("metadata.json").header_offset
    content[at + 7] |= 8  # names are UTF-8
    content[at + 30] = 0xA9
    path.write_bytes(content)
    return path


@hostile("a decompression bomb")
def inflated_weights(base, path):
    with zipfile.ZipFile(Base(base).write(path), "r") as good:
        kept = {name: good.read(name) for name in good.namelist() if name != "model.weights.h5"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in kept.items():
            archive.writestr(name, content)
        with archive.open("model.weights.h5", "w", force_zip64=True) as stream:
            for _ in range(64):
                stream.write(bytes(16 << 20))
    return path


@hostile("more than the limit")
def inflated_configuration(base, path):
    return Base(base).write(path, config=b" " * (9 << 20))


@hostile("overlap")
def members_that_overlap(base, path):
    """Two entries of the directory share one member's bytes (D. Fifield, A better zip bomb, 2019)."""
    whole = Base(base)
    whole.members["metadata.json"] = bytes(600_000)
    whole.members["config.json"] = whole.members["config.json"]
    content = bytearray(whole.write(path).read_bytes())
    weights = content.rindex(b"model.weights.h5") - 46
    fake = struct.pack("<I", len(content))
    content[weights + 20 : weights + 28] = fake + fake
    path.write_bytes(content)
    return path


# The weights


@hostile("a link of the kind ExternalLink")
def hdf5_external_link(base, path):
    secret = path.parent / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.zeros(3)

    def change(file):
        del file["layers/dense/vars/1"]
        file["layers/dense/vars/1"] = h5py.ExternalLink(secret, "/x")

    return Base(base).with_weights(path, change)


@hostile("a link of the kind SoftLink")
def hdf5_soft_link(base, path):
    def change(file):
        file["layers/more"] = h5py.SoftLink("/layers/dense")

    return Base(base).with_weights(path, change)


@hostile("external storage")
def hdf5_external_storage(base, path):
    def change(file):
        del file["layers/dense/vars/1"]
        file["layers/dense/vars"].create_dataset("1", (3,), "f4", external=[("/etc/hostname", 0, 12)])

    return Base(base).with_weights(path, change)


@hostile("virtual array")
def hdf5_virtual_dataset(base, path):
    def change(file):
        layout = h5py.VirtualLayout((3,), "f4")
        layout[:] = h5py.VirtualSource("/etc/hostname", "x", (3,))
        del file["layers/dense/vars/1"]
        file["layers/dense/vars"].create_virtual_dataset("1", layout)

    return Base(base).with_weights(path, change)


@hostile("a shape bomb")
def hdf5_shape_bomb(base, path):
    def change(file):
        del file["layers/dense/vars/1"]
        file["layers/dense/vars"].create_dataset("1", (1 << 40,), "f4")

    return Base(base).with_weights(path, change)


@hostile("a shape bomb")
def hdf5_shape_bomb_in_chunks(base, path):
    def change(file):
        file["layers/dense/vars"].create_dataset("2", (1 << 40,), "f4", chunks=(1 << 20,))

    return Base(base).with_weights(path, change)


@hostile("compressed or filtered")
def hdf5_inflated_array(base, path):
    def change(file):
        file["layers/dense/vars"].create_dataset("2", data=np.zeros(1 << 24, np.uint8), compression="gzip")

    return Base(base).with_weights(path, change)


@hostile("objects or references")
def hdf5_object_references(base, path):
    def change(file):
        file["layers/dense/vars"].create_dataset("2", (3,), h5py.ref_dtype)

    return Base(base).with_weights(path, change)


@hostile("objects or references")
def hdf5_variable_length(base, path):
    def change(file):
        file["layers/dense/vars"].create_dataset("2", (3,), h5py.vlen_dtype(np.float32))

    return Base(base).with_weights(path, change)


@hostile("reached by two names")
def hdf5_group_within_itself(base, path):
    def change(file):
        file["layers/dense/again"] = file["layers"]

    return Base(base).with_weights(path, change)


@hostile("a link of the kind ExternalLink", "weights")
def weights_file_with_external_link(base, path):
    path = path.with_suffix(".weights.h5")
    path.write_bytes(Base(base).members["model.weights.h5"])
    with h5py.File(path, "a") as file:
        file["layers/more"] = h5py.ExternalLink("/etc/hostname", "/x")
    return path


@hostile("cannot load weights file", "weights")
def code_in_an_h5_file_cve_2025_9905(base, path):
    """Keras ignores safe_mode in the old format; this package reads only its weights, and there are none."""
    import keras

    marker = str(path.parent / "marker")
    inputs = keras.Input((4,))
    layer = keras.layers.Lambda(lambda x, p=marker: (open(p, "w"), x)[1], output_shape=(4,))  # noqa: PTH123, SIM115
    model = keras.Model(inputs, layer(inputs))
    path = path.with_suffix(".h5")
    model.save(path)
    Path(marker).unlink(missing_ok=True)  # building the model ran it
    return path


# The golden batch, and other arrays


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def npy_header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return b"\x93NUMPY\x01\x00" * (not stream.getvalue().startswith(b"\x93")) + stream.getvalue()


def lying_npz(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(f"{name}.npy", npy_header((1 << 36,)))
    return path


@hostile("Python objects")
def golden_batch_with_a_pickle(base, path):
    evil = np.array([Touch(path.parent / "marker")], object)
    return Base(base).write(path, golden=npz(images=evil, logits=np.zeros(3)))


@hostile("claims")
def golden_batch_that_lies(base, path):
    return Base(base).write(path, golden=lying_npz(path, "images", "logits").read_bytes())


@hostile("Python objects", "arrays")
def data_with_a_pickle(base, path):
    evil = np.array([Touch(path.parent / "marker")], object)
    (path := path.with_suffix(".npz")).write_bytes(npz(x=evil, y=np.zeros(1)))
    return path


@hostile("claims", "arrays")
def data_that_lies(base, path):
    return lying_npz(path.with_suffix(".npz"), "x", "y")


@hostile("a decompression bomb", "arrays")
def data_that_inflates(base, path):
    path = path.with_suffix(".npz")
    np.savez_compressed(path, x=np.zeros((1, 20000, 20000), np.uint8), y=np.zeros(1, int))
    return path


@hostile("Python objects", "state")
def state_with_a_pickle(base, path):
    (path := path.with_suffix(".npz")).write_bytes(npz(json=np.array([Touch(path.parent / "marker")], object)))
    return path


# Pickles


class Touch:
    """An object that creates a file when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return exec, (f"open({str(self.marker)!r}, 'w')",)


def checkpoint(path: Path, content: bytes, numbers: bytes = b"") -> Path:
    path = path.with_suffix(".pth")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", content)
        archive.writestr("a/data/0", numbers)
    return path


@hostile("asks for builtins.exec", "checkpoint")
def torch_checkpoint_with_code(base, path):
    return checkpoint(path, pickle.dumps({"w": Touch(path.parent / "marker")}))


@hostile("asks for __builtin__.exec", "checkpoint")
def old_torch_checkpoint_with_code(base, path):
    path = path.with_suffix(".pth")
    path.write_bytes(pickle.dumps(Touch(path.parent / "marker"), 2))
    return path


MEMO_BOMB = b"\x80\x02K\x01r" + struct.pack("<I", (1 << 32) - 2) + b"."


@hostile("a memory bomb", "checkpoint")
def torch_checkpoint_with_a_huge_memo(base, path):
    return checkpoint(path, MEMO_BOMB)


@hostile("a decompression bomb", "checkpoint")
def torch_checkpoint_that_inflates(base, path):
    return checkpoint(path, pickle.dumps({}), bytes(1 << 29))


@hostile("many times the size of the file", "checkpoint")
def torch_checkpoint_with_an_expanded_tensor(base, path):
    """A tensor of 10^12 elements that share one number: stride 0."""
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00\x8a\x06" + (10**12).to_bytes(6, "little")
    tensor += b"\x85K\x00\x85\x89}tR"
    return checkpoint(path, b"\x80\x02}X\x01\x00\x00\x00w" + tensor + b"s.", bytes(4))


def safetensors(path: Path, header: bytes, numbers: bytes) -> Path:
    (path := path.with_suffix(".safetensors")).write_bytes(struct.pack("<Q", len(header)) + header + numbers)
    return path


@hostile("invalid offset", "safetensors")
def safetensors_that_overlap(base, path):
    """A thousand tensors that share one megabyte."""
    entry = {"dtype": "U8", "shape": [1 << 20], "data_offsets": [0, 1 << 20]}
    return safetensors(path, json.dumps({str(k): entry for k in range(1000)}).encode(), bytes(1 << 20))


@hostile("a header of", "safetensors")
def safetensors_with_a_huge_header(base, path):
    return safetensors(path, b" " * (9 << 20), b"")


@hostile("invalid offset", "safetensors")
def safetensors_with_a_tensor_outside(base, path):
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [1 << 40, (1 << 40) + 16]}
    return safetensors(path, json.dumps({"w": entry}).encode(), bytes(16))


def cifar(path: Path, content: bytes) -> Path:
    folder = path.with_suffix("")
    folder.mkdir()
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(content)
    return folder


@hostile("asks for builtins.exec", "cifar10")
def cifar_batch_with_code(base, path):
    return cifar(path, pickle.dumps({b"data": Touch(path.parent / "marker")}))


@hostile("a memory bomb", "cifar10")
def cifar_batch_with_a_huge_memo(base, path):
    return cifar(path, MEMO_BOMB)


@hostile("an array that is not made of numbers in the file", "cifar10")
def cifar_batch_with_a_huge_array(base, path):
    """An array of 10^10 elements without bytes in the file."""
    dtype = b"cnumpy\ndtype\n(X\x02\x00\x00\x00u1K\x00K\x01tR"
    array = b"cnumpy\nndarray\n(\x8a\x05" + (10**10).to_bytes(5, "little") + b"\x85" + dtype + b"tR"
    return cifar(path, b"\x80\x02}(C\x04data" + array + b"C\x06labels]u.")


# Archives of data, and images


def tar(path: Path, name: str, content: bytes = b"x", link: str = "", mode: str = "w:gz") -> Path:
    path = path.with_suffix(".tar.gz")
    with tarfile.open(path, mode) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        if link:
            info.type, info.linkname, info.size = tarfile.SYMTYPE, link, 0
        archive.addfile(info, io.BytesIO(content))
    return path


@hostile("outside", "cifar10")
def tar_with_a_path_out(base, path):
    return tar(path, "../marker")


@hostile("a link or a special file", "cifar10")
def tar_with_a_link_out(base, path):
    return tar(path, "l", link="/etc")


@hostile("a link or a special file", "cifar10")
def tar_with_a_link_inside(base, path):
    return tar(path, "l", link="x")


@hostile("unpacks to more than", "cifar10")
def tar_that_inflates(base, path):
    return tar(path, "x", bytes(1 << 29))


@hostile("a header of", "cifar10")
def tar_with_a_huge_header(base, path):
    path = path.with_suffix(".tar.gz")
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 29
    with gzip.open(path, "wb") as stream:
        stream.write(info.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(32):
            stream.write(bytes(1 << 24))
    return path


@hostile("cannot hold", "idx")
def idx_that_inflates(base, path):
    folder = path.with_suffix("")
    folder.mkdir()
    with gzip.open(folder / "train-images-idx3-ubyte.gz", "wb") as stream:
        stream.write(struct.pack(">4B3I", 0, 0, 8, 3, 1 << 15, 1 << 8, 1 << 8) + bytes(1 << 29))
    return folder


def png(path: Path, width: int, height: int) -> Path:
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    folder = path.with_suffix("")
    folder.mkdir()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return folder / "bomb.png"


@hostile("decompression bomb", "image")
def png_of_ten_gigabytes(base, path):
    return png(path, 60_000, 60_000)


@hostile("decompression bomb", "image")
def gif_of_four_gigabytes(base, path):
    from PIL import Image

    Image.new("P", (1, 1)).save(path := path.with_suffix(".gif"))
    content = bytearray(path.read_bytes())
    content[6:10] = struct.pack("<HH", 65_535, 65_535)
    path.write_bytes(content)
    return path
