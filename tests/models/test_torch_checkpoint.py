"""Reading PyTorch checkpoints without PyTorch; the files are written by hand where PyTorch is not installed."""

from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.models.backbones.efficientnet_lite import checkpoint_path
from keras_transfer.models.torch_checkpoint import read_torch_state_dict


class Global:
    """Pickles as a reference to ``module.name`` called with ``arguments``, without anything being imported."""

    def __init__(self, module: str, name: str, *arguments: object):
        self.module, self.name, self.arguments = module, name, arguments


class Storage:
    def __init__(self, kind: str, key: str, numel: int):
        self.kind, self.key, self.numel = kind, key, numel


class Writer(pickle._Pickler):  # the Python pickler, whose way of saving can be told
    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return ("storage", Reference("torch", obj.kind), obj.key, "cpu", obj.numel)
        return None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Reference):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Global):
            self.save(Reference(obj.module, obj.name))
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


class Reference:
    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


def dumps(obj: object) -> bytes:
    stream = io.BytesIO()
    Writer(stream, 2).dump(obj)
    return stream.getvalue()


def tensor(kind: str, key: str, numel: int, shape, stride, offset: int = 0) -> Global:
    return Global("torch._utils", "_rebuild_tensor_v2", Storage(kind, key, numel), offset, shape, stride, False, {})


def write_zip(path, state, storages, **extra):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", dumps(state))
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        for name, data in extra.items():
            archive.writestr(f"archive/{name}", data)
    return path


def legacy(state, storages, magic=0x1950A86A20F9469CFC6C, facts=None) -> bytes:
    parts = [magic, 1001, facts or {"little_endian": True}, state, list(storages)]
    body = b"".join(dumps(part) for part in parts)
    return body + b"".join(struct.pack("<q", n) + data for n, data in storages.values())


def test_zip_format_types_strides_and_offsets(tmp_path):
    matrix = np.arange(6, dtype="<f4")
    half = np.array([1.5, -2.0], dtype="<f2")
    brain = (np.array([1.0, -3.5], "<f4").view("<u4") >> 16).astype("<u2")
    state = {
        "rows": tensor("FloatStorage", "0", 6, (2, 3), (3, 1)),
        "columns": tensor("FloatStorage", "0", 6, (3, 2), (1, 3)),
        "tail": tensor("FloatStorage", "0", 6, (2,), (1,), offset=4),
        "scalar": tensor("LongStorage", "1", 1, (), ()),
        "half": tensor("HalfStorage", "2", 2, (2,), (1,)),
        "brain": tensor("BFloat16Storage", "3", 2, (2,), (1,)),
        "empty": tensor("FloatStorage", "4", 0, (0, 3), (3, 1)),
        "epoch": 7,
    }
    storages = {"0": matrix.tobytes(), "1": struct.pack("<q", 9), "2": half.tobytes(), "3": brain.tobytes(), "4": b""}
    found = read_torch_state_dict(write_zip(tmp_path / "a.pth", state, storages, byteorder=b"little"))
    np.testing.assert_array_equal(found["rows"], matrix.reshape(2, 3))
    np.testing.assert_array_equal(found["columns"], matrix.reshape(2, 3).T)
    np.testing.assert_array_equal(found["tail"], [4, 5])
    assert found["scalar"] == 9 and found["scalar"].dtype == np.int64
    np.testing.assert_array_equal(found["half"], half)
    np.testing.assert_array_equal(found["brain"], [1.0, -3.5])
    assert found["brain"].dtype == np.float32 and found["empty"].shape == (0, 3)
    assert "epoch" not in found


def test_nested_state_dict_and_parameters(tmp_path):
    inner = Global("torch._utils", "_rebuild_parameter", tensor("FloatStorage", "0", 2, (2,), (1,)), True, {})
    path = write_zip(tmp_path / "a.pt", {"state_dict": {"w": inner}}, {"0": np.ones(2, "<f4").tobytes()})
    np.testing.assert_array_equal(read_torch_state_dict(path)["w"], [1, 1])


def test_legacy_format(tmp_path):
    data = np.arange(4, dtype="<f4")
    path = tmp_path / "old.pth"
    path.write_bytes(legacy({"w": tensor("FloatStorage", "k", 4, (2, 2), (2, 1))}, {"k": (4, data.tobytes())}))
    np.testing.assert_array_equal(read_torch_state_dict(path)["w"], data.reshape(2, 2))


def test_what_torch_itself_writes(tmp_path):
    torch = pytest.importorskip("torch")
    state = {"a": torch.randn(3, 4).t(), "b": torch.arange(5), "c": torch.randn(2).bfloat16()}
    for name, new in (("new.pth", True), ("old.pth", False)):
        torch.save(state, tmp_path / name, _use_new_zipfile_serialization=new)
        found = read_torch_state_dict(tmp_path / name)
        for key, value in state.items():
            np.testing.assert_array_equal(found[key], value.float().numpy() if key == "c" else value.numpy())


def test_embedded_checkpoint_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from keras_transfer.models.torch_checkpoint import read_torch_state_dict as read\n"
        f"state = read({str(checkpoint_path())!r})\n"
        "assert state['_fc.weight'].shape == (1000, 1280) and len(state) == 296, len(state)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "call",
    [Global("os", "system", "true"), Global("builtins", "eval", "1"), Global("torch", "load", "x")],
    ids=["os.system", "eval", "torch.load"],
)
def test_anything_but_tensors_is_refused(tmp_path, call):
    path = write_zip(tmp_path / "bad.pth", {"w": call}, {})
    with pytest.raises(UserError, match=r"asks for (os\.system|builtins\.eval|torch\.load)"):
        read_torch_state_dict(path)


BAD_TENSORS = {
    "beyond": tensor("FloatStorage", "0", 2, (3,), (1,)),
    "offset": tensor("FloatStorage", "0", 2, (2,), (1,), offset=1),
    "negative": tensor("FloatStorage", "0", 2, (2,), (-1,)),
    "rank": tensor("FloatStorage", "0", 2, (2, 1), (1,)),
    "short": tensor("FloatStorage", "0", 5, (2,), (1,)),
    "missing": tensor("FloatStorage", "9", 2, (2,), (1,)),
}


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_impossible_tensors_are_refused(tmp_path, name):
    path = write_zip(tmp_path / "bad.pth", {"w": BAD_TENSORS[name]}, {"0": np.ones(2, "<f4").tobytes()})
    with pytest.raises(UserError, match="cannot read"):
        read_torch_state_dict(path)


def test_files_that_are_no_checkpoints(tmp_path):
    good = legacy({"w": tensor("FloatStorage", "k", 4, (4,), (1,))}, {"k": (4, b"\0" * 16)})
    cases = {
        "text.pth": b"hello",
        "empty.pth": b"",
        "cut.pth": good[:-4],
        "magic.pth": legacy({}, {}, magic=1),
        "endian.pth": legacy({}, {}, facts={"little_endian": False}),
        "numel.pth": legacy({"w": tensor("FloatStorage", "k", 4, (4,), (1,))}, {"k": (3, b"\0" * 12)}),
        "list.pth": legacy([1, 2], {}),
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=r"\.pth|magic|endian") as caught:
            read_torch_state_dict(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="does not exist"):
        read_torch_state_dict(tmp_path / "nothing.pth")


def test_zip_archives_that_are_no_checkpoints(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(UserError, match=r"without data\.pkl"):
        read_torch_state_dict(tmp_path / "a.zip")
    with pytest.raises(UserError, match="big-endian"):
        read_torch_state_dict(write_zip(tmp_path / "b.pth", {}, {}, byteorder=b"big"))


def test_references_other_than_storages_are_refused(tmp_path):
    class Odd(Writer):
        def persistent_id(self, obj):
            return ("module", "x", "y", "cpu", 1) if isinstance(obj, Storage) else None

    stream = io.BytesIO()
    Odd(stream, 2).dump({"w": tensor("FloatStorage", "0", 2, (2,), (1,))})
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
    with pytest.raises(UserError, match="unexpected reference"):
        read_torch_state_dict(tmp_path / "a.pth")
