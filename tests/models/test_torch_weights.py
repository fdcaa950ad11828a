"""PyTorch checkpoints in Keras models: the same logits as a PyTorch model written out here, layer by layer."""

from __future__ import annotations

import json
import struct

import keras
import numpy as np
import pytest

from keras_transfer.config.schema import ModelConfig
from keras_transfer.errors import UserError
from keras_transfer.models.backbones import get
from keras_transfer.models.backbones import names as backbone_names
from keras_transfer.models.backbones.torch_variant import suited
from keras_transfer.models.backbones.torch_weights import torchvision_weights
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.groups import layer_groups
from keras_transfer.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from keras_transfer.models.safetensors import read_safetensors
from keras_transfer.training.build import network_notes

torch = pytest.importorskip("torch")
nn = torch.nn
reference = pytest.importorskip("tests.models.torch_reference")
randomized = reference.randomized


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
        pytest.param("resnet34", lambda: ResNet((3, 4, 6, 3)), (65, 64), marks=pytest.mark.exhaustive),
        pytest.param("alexnet", AlexNet, (224, 224), marks=pytest.mark.exhaustive),
        pytest.param("alexnet", AlexNet, (100, 130), marks=pytest.mark.exhaustive),
    ],
)
def test_the_features_are_those_of_the_torch_model(name, make, size, tmp_path):
    theirs = randomized(make())
    path = tmp_path / "a.pth"
    torch.save(theirs.state_dict(), path)
    ours = get(name).build((*size, 3), str(path))
    images = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    found = keras.ops.convert_to_numpy(ours(images, training=False))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


MAKE = {
    "resnet50": lambda: reference.BottleneckResNet((3, 4, 6, 3)),
    "mobilenet_v2": reference.MobileNetV2,
    "vgg16": lambda: reference.VGG((2, 2, 3, 3, 3)),
    "efficientnet_b0": reference.EfficientNetB0,
}
SIZE = (64, 49)


def saved(name, folder):
    """A model of the reference with random statistics, and its checkpoint."""
    theirs = randomized(MAKE[name]())
    torch.save(theirs.state_dict(), folder / f"{name}.pth")
    return theirs, str(folder / f"{name}.pth")


def logits_of(model, theirs):
    """Logits of ``model`` for raw pixels with the last layer of ``theirs``, and those of ``theirs``."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3)).astype("float32")
    prepared = ((pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD).astype("float32")
    with torch.no_grad():
        expected = theirs(torch.from_numpy(prepared.transpose(0, 3, 1, 2).copy())).numpy()
    kernel, bias = list(theirs.parameters())[-2:]
    model.get_layer("logits").set_weights([kernel.detach().numpy().T, bias.detach().numpy()])
    return keras.ops.convert_to_numpy(model(pixels, training=False)), expected


@pytest.mark.backend
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "mobilenet_v2" else [pytest.mark.exhaustive]) for name in MAKE]
)
def test_logits_of_raw_pixels_are_those_of_the_torch_model(name, tmp_path):
    theirs, path = saved(name, tmp_path)
    model = build_classifier(name, 7, SIZE, weights=path)
    assert model.name == f"{name}_torch_classifier"
    found, expected = logits_of(model, theirs)
    assert expected.std() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert [group for group, _ in layer_groups(model, name)] == [group for group, _ in get(name).groups]
    (note,) = network_notes(ModelConfig(backbone=name, weights=str(path)))
    assert note.startswith(f"network: {name} is PyTorch's, with preprocessing torch")
    # A model file keeps the function, and so do weights taken from it.
    model.save(tmp_path / "a.keras")
    again, expected = logits_of(build_classifier(name, 7, SIZE, weights=str(tmp_path / "a.keras")), theirs)
    np.testing.assert_allclose(again, expected, rtol=0, atol=1e-4)


@pytest.mark.no_cover
@pytest.mark.backend
@pytest.mark.exhaustive
def test_checkpoints_from_tensorflow_are_for_the_graph_of_keras(tmp_path, shake):
    """timm's ``tf_`` names and those of efficientnet_pytorch: the same tensors, taken out of a model of Keras's."""
    stock = build_classifier("efficientnet_b0", 7, 64, weights="none")
    shake(stock)
    by_package = {c.package: c.names() for c in get("efficientnet_b0").checkpoints}
    for package, file in (("timm", "tf_b0.pth"), ("efficientnet_pytorch", "b0.pth")):
        torch.save(torch_state(stock, by_package[package]), tmp_path / file)
        model = build_classifier("efficientnet_b0", 7, 64, weights=str(tmp_path / file))
        assert model.name == "efficientnet_b0_classifier"
        for layer in model.layers:
            for ours, theirs in zip(layer.get_weights(), stock.get_layer(layer.name).get_weights()):
                assert layer.name == "logits" or np.array_equal(ours, theirs)
        assert model.get_layer("stem_bn").epsilon == stock.get_layer("stem_bn").epsilon


def torch_state(model, names):
    """A state dict, by ``names``, of a Keras model's convolutions and BatchNorm."""
    state = {}
    for ours, theirs in names.items():
        layer = model.get_layer(ours)
        parts = layer.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            keys = ("weight", "bias", "running_mean", "running_var")
        else:
            keys = ("weight", "bias")
            order = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (3, 2, 0, 1)
            parts[0] = parts[0].transpose(order)
        state |= {f"{theirs}.{key}": torch.from_numpy(value.copy()) for key, value in zip(keys, parts)}
    return state


# As the packages' state dicts have them: the blocks that differ in kind, and the ends.
PACKAGES = [
    ("efficientnet_b0", "timm", {
        "stem_conv": "conv_stem", "top_bn": "bn2", "block1a_dwconv": "blocks.0.0.conv_dw",
        "block1a_project_conv": "blocks.0.0.conv_pw", "block1a_project_bn": "blocks.0.0.bn2",
        "block2b_expand_conv": "blocks.1.1.conv_pw", "block2b_bn": "blocks.1.1.bn2",
        "block2b_se_reduce": "blocks.1.1.se.conv_reduce", "block7a_project_conv": "blocks.6.0.conv_pwl",
    }),
    ("efficientnet_b1", "torchvision", {
        "top_conv": "features.8.0", "block1b_dwconv": "features.1.1.block.0.0",
        "block1a_se_expand": "features.1.0.block.1.fc2", "block7b_project_bn": "features.7.1.block.3.1",
    }),
    ("mobilenet_v2", "timm", {
        "Conv_1_bn": "bn2", "expanded_conv_project": "blocks.0.0.conv_pw", "block_2_depthwise": "blocks.1.1.conv_dw",
        "block_16_project_BN": "blocks.6.0.bn3",
    }),
    ("efficientnet_lite0", "timm", {"stem_bn": "bn1", "block3b_depthwise_bn": "blocks.2.1.bn2", "top": "conv_head"}),
    ("efficientnet_lite0", "efficientnet_pytorch", {"stem": "_conv_stem", "block3b_project_bn": "_blocks.4._bn2"}),
    ("efficientnet_lite1", "timm", {"block6e_project": "blocks.5.4.conv_pwl", "top_bn": "bn2"}),
    ("efficientnet_lite2", "efficientnet_pytorch", {"block6e_expand": "_blocks.19._expand_conv", "top_bn": "_bn1"}),
    ("vgg19", "torchvision, timm", {"block3_conv4": "features.16", "block5_conv1": "features.28"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "package", "some"), PACKAGES)
def test_names_of_the_packages(name, package, some):
    tables = [c.names() for c in get(name).all_checkpoints() if c.package == package]
    assert tables and all(table.items() >= some.items() for table in tables)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("name", "theirs"),
    [("resnet50", "resnet50"), ("vgg16", "vgg16"), ("mobilenet_v2", "mobilenetv2_100"), ("resnet18", "resnet18"),
     ("efficientnet_b0", "efficientnet_b0"), ("efficientnet_b3", "tf_efficientnet_b3"),
     ("efficientnet_lite0", "efficientnet_lite0"), ("efficientnet_lite0", "tf_efficientnet_lite0"),
     ("efficientnet_lite1", "tf_efficientnet_lite1"), ("efficientnet_lite2", "tf_efficientnet_lite2")],
)  # fmt: skip
def test_state_dicts_of_timm_itself_fit(name, theirs, tmp_path):
    timm = pytest.importorskip("timm")
    path = tmp_path / f"{theirs}.pth"
    torch.save(timm.create_model(theirs).state_dict(), path)
    model = build_classifier(name, 2, 64, weights=str(path))
    assert model.name.endswith("_torch_classifier") == (not theirs.startswith("tf_") and name != "resnet18")


def test_preprocessing_is_what_the_weights_were_trained_with(tmp_path):
    """timm writes it into config.json beside the weights."""
    torch.save({"conv_stem.weight": torch.zeros(1)}, tmp_path / "model.pth")
    record, path = get("efficientnet_b0"), str(tmp_path / "model.pth")
    assert suited(record, path) == record.torch and record.torch.preprocessing.name == "torch"
    half = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    config = {"architecture": "tf_efficientnet_b0", "pretrained_cfg": half}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = suited(record, path)
    assert found.variant == "" and found.build is record.build
    np.testing.assert_allclose(found.preprocessing.array(np.array([0, 255, 127.5])), [-1, 1, 0], atol=1e-6)
    for bad in ("[]", "{", json.dumps({**config, "pretrained_cfg": {**half, "std": [0, 0, 0]}})):
        (tmp_path / "config.json").write_text(bad)
        assert suited(record, path).preprocessing.name == "torch"


def zeros(names, but=()):
    return {f"{name}.weight": torch.zeros(1) for name in names.values() if name not in but}


def test_the_error_names_the_backbone_that_a_checkpoint_looks_like(tmp_path):
    path = str(tmp_path / "a.pth")
    names = {record.name: record.all_checkpoints()[0].names() for record in map(get, backbone_names())
             if record.all_checkpoints()}  # fmt: skip
    for given, wanted, hint in [
        ("resnet101", "resnet50", "resnet101"),
        ("resnet18", "resnet50", "resnet18"),
        ("vgg19", "vgg16", "vgg19"),
        ("mobilenet_v2", "efficientnet_b0", "mobilenet_v2"),
        ("efficientnet_b2", "efficientnet_b1", "efficientnet_b2"),
    ]:
        torch.save(zeros(names[given]), path)
        with pytest.raises(UserError, match=rf"does not fit {wanted}: .*; it looks like {hint}$") as caught:
            build_classifier(wanted, 2, 64, weights=path)
        assert "\n" not in str(caught.value)
    with pytest.raises(
        UserError, match=r"no PyTorch checkpoint fits backbone tiny: .* looks like efficientnet_b1 or efficientnet_b2$"
    ):
        torch.save(zeros(names["efficientnet_b2"]), path)
        build_classifier("tiny", 2, weights=path)
    with pytest.raises(UserError, match=r"does not fit resnet50: layer conv1_conv \(conv1\): no 'conv1.weight'$"):
        torch.save(zeros(names["resnet50"], but=("conv1",)), path)
        build_classifier("resnet50", 2, 64, weights=path)


def test_missing_extra_and_misshapen_tensors_are_one_line(tmp_path):
    theirs, path = saved("vgg16", tmp_path)
    state = theirs.state_dict()
    for change, reason in [
        (
            {"features.0.bias": torch.zeros(65)},
            r"block1_conv1 \(features\.0\): expected shape \(64,\), the file has \(65,\)",
        ),
        ({"features.0.scale": torch.zeros(1)}, r"it also has features\.0\.scale"),
        ({"classifier.6.weight": torch.zeros(3, 5)}, None),  # a head of other classes does no harm
    ]:
        torch.save({**state, **change}, path)
        if reason is None:
            build_classifier("vgg16", 2, 32, weights=path)
        else:
            with pytest.raises(UserError, match=f"does not fit vgg16: .*{reason}$"):
                build_classifier("vgg16", 2, 32, weights=path)


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


@pytest.mark.backend
def test_safetensors_hold_the_same(tmp_path):
    theirs = randomized(ResNet((2, 2, 2, 2)))
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    write_safetensors(theirs.state_dict(), tmp_path / "a.safetensors")
    both = [
        get("resnet18").build((32, 32, 3), str(tmp_path / name)).get_weights() for name in ("a.pth", "a.safetensors")
    ]
    assert all(np.array_equal(a, b) for a, b in zip(*both, strict=True))


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
