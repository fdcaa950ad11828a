"""PyTorch checkpoints in Keras models: the same logits as a PyTorch model written out here, layer by layer."""

from __future__ import annotations

import json
import struct

import keras
import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.models.backbones import get
from keras_transfer.models.safetensors import read_safetensors
from keras_transfer.models.torch_weights import torchvision_weights

torch = pytest.importorskip("torch")
nn = torch.nn


class BasicBlock(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.downsample = None
        if stride > 1 or channels != filters:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """torchvision's ResNet of basic blocks, without its last layer, by its names."""

    def __init__(self, blocks):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for i, (filters, repeats) in enumerate(zip((64, 128, 256, 512), blocks), start=1):
            layers = []
            for j in range(repeats):
                layers.append(BasicBlock(channels, filters, 2 if i > 1 and j == 0 else 1))
                channels = filters
            setattr(self, f"layer{i}", nn.Sequential(*layers))

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class AlexNet(nn.Module):
    """torchvision's AlexNet, without its last layer, by its names."""

    def __init__(self):
        super().__init__()
        relu = nn.ReLU()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), relu, nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, 1, 2), relu, nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, 1, 1), relu, nn.Conv2d(384, 256, 3, 1, 1), relu, nn.Conv2d(256, 256, 3, 1, 1), relu,
            nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(9216, 4096), relu, nn.Dropout(), nn.Linear(4096, 4096), relu
        )

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))[:, :, None, None]


def randomized(module):
    """Statistics and scales that are not the trivial ones."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.3)
            nn.init.normal_(layer.running_mean, 0, 0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    return module.eval()


def write_safetensors(state, path):
    header, numbers = {}, b""
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            continue
        raw = tensor.contiguous().numpy().tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(numbers), len(numbers) + len(raw)],
        }
        numbers += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + numbers)


@pytest.mark.backend
@pytest.mark.parametrize(
    ("name", "make", "size"),
    [
        ("resnet18", lambda: ResNet((2, 2, 2, 2)), (64, 96)),
        pytest.param("resnet34", lambda: ResNet((3, 4, 6, 3)), (65, 64), marks=pytest.mark.slow),
        ("alexnet", AlexNet, (224, 224)),
        pytest.param("alexnet", AlexNet, (100, 130), marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_features_are_those_of_the_torch_model(name, make, size, suffix, tmp_path):
    theirs = randomized(make())
    path = tmp_path / f"a{suffix}"
    torch.save(theirs.state_dict(), path) if suffix == ".pth" else write_safetensors(theirs.state_dict(), path)
    ours = get(name).build((*size, 3), str(path))
    images = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    found = keras.ops.convert_to_numpy(ours(images, training=False))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_checkpoint_of_another_model_names_the_first_layer_that_does_not_fit(tmp_path):
    torch.save({"conv1.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="does not fit resnet18: layer stem_conv"):
        get("resnet18").build((64, 64, 3), str(tmp_path / "a.pth"))
    torch.save({"module.conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "b.pth")
    with pytest.raises(UserError, match=r"layer stem_bn \(bn1\): no 'bn1\.weight'"):
        get("resnet18").build((64, 64, 3), str(tmp_path / "b.pth"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 1 << 60),
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"a": 17}',
        struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[9,9],"data_offsets":[0,324]}}  ' + b"\0" * 8,
        struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[4,0]}}     ' + b"\0" * 8,
        struct.pack("<Q", 60) + b'{"a":{"dtype":"XYZ","shape":[1],"data_offsets":[0,4]}}      ' + b"\0" * 8,
        struct.pack("<Q", 20000) + b"[" * 20000,
    ],
)
def test_damaged_safetensors_are_refused(content, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .* as safetensors"):
        read_safetensors(path)


def test_safetensors_dtypes(tmp_path):
    numbers = np.array([1.5, -2.0], "<f4").tobytes() + struct.pack("<HH", 0x3FC0, 0xC000) + struct.pack("<q", -3)
    header = json.dumps({
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [8, 12]},
        "c": {"dtype": "I64", "shape": [], "data_offsets": [12, 20]},
    }).encode()  # fmt: skip
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + numbers)
    found = read_safetensors(tmp_path / "a.safetensors")
    assert sorted(found) == ["a", "b", "c"]
    np.testing.assert_array_equal(found["a"], [1.5, -2.0])
    np.testing.assert_array_equal(found["b"], [[1.5, -2.0]])
    assert found["c"] == -3


def test_a_download_that_is_not_the_published_file_is_refused(tmp_path, monkeypatch):
    wrong = tmp_path / "resnet18-f37072fd.pth"
    wrong.write_bytes(b"something else")
    monkeypatch.setattr(keras.utils, "get_file", lambda *args, **kwargs: str(wrong))
    with pytest.raises(UserError, match=r"resnet18-f37072fd\.pth is damaged and was removed"):
        torchvision_weights("resnet18-f37072fd.pth", "resnet18")
    assert not wrong.exists()


def test_without_a_network_the_error_says_what_to_do(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr(keras.utils, "get_file", fail)
    with pytest.raises(UserError, match="cannot download the ImageNet weights of resnet18"):
        get("resnet18").build((64, 64, 3), "imagenet")
