"""Reading `.safetensors` files; damaged and hostile ones are in `test_torch_weights.py` and `tests/safety`."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from keras_transfer.errors import UserError
from keras_transfer.models.safetensors import read_safetensors


def test_what_the_library_writes(tmp_path):
    path = tmp_path / "a.safetensors"
    written = {
        "half": np.array([1.5, -2.0], np.float16),
        "long": np.array([[3]], np.int64),
        "brain": np.array([0.25, np.nan], ml_dtypes.bfloat16),
    }
    save_file(written, path, metadata={"format": "pt"})
    found = read_safetensors(path)
    assert {name: array.dtype.name for name, array in found.items()} == {
        "half": "float16",
        "long": "int64",
        "brain": "float32",
    }
    for name, array in written.items():
        np.testing.assert_array_equal(found[name], array.astype(found[name].dtype))


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
def test_float8_is_one_line(dtype, tmp_path):
    header = json.dumps({"a": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(2))
    with pytest.raises(UserError, match=r"cannot read .*a.safetensors' as safetensors: .*float8"):
        read_safetensors(tmp_path / "a.safetensors")


def test_a_truncated_file_is_one_line(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": np.ones(1000, np.float32)}, path)
    whole = path.read_bytes()
    for length in (0, 4, 8, 40, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="cannot read") as caught:
            read_safetensors(path)
        assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_one_line(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_safetensors(tmp_path / "missing.safetensors")
    with pytest.raises(UserError, match="cannot read"):
        read_safetensors(tmp_path)
