"""Checkpoints as backbones: classifier, groups, training, saved files, explanation, licence, and damaged folders."""

from __future__ import annotations

import json
import shutil
import struct

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.errors import UserError
from tests.checkpoints.references import (
    computed,
    converted,
    noise,
    relative,
    timm_folder,
    transformers,
    transformers_folder,
)
from tests.conftest import make_photos

pytestmark = pytest.mark.backend


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "dinov2-tiny"
    timm_folder(path, "vit_small_patch14_dinov2", img_size=42, embed_dim=24, depth=3, num_heads=2)
    return path


@pytest.fixture(scope="module")
def classifier(folder):
    return kt.Classifier(str(folder), ["a", "b"], image_size=(42, 56))


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_the_record_comes_from_the_checkpoint(folder):
    from keras_transfer.models.backbones import get

    stated = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    record = get(str(folder))
    pixels = np.full((1, 1, 3), 100.0)
    expected = (pixels / 255 - stated["mean"]) / stated["std"]
    np.testing.assert_allclose(record.preprocessing.array(pixels), expected, rtol=1e-5)
    assert record.image_size == stated["input_size"][1]
    assert record.licence == stated["license"]


def test_the_record_of_a_model_of_transformers(tmp_path):
    from keras_transfer.models.checkpoints.record import read_facts

    T = transformers
    small = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    transformers_folder(tmp_path, T.ViTModel(T.ViTConfig(**small, image_size=32, patch_size=16)))
    assert read_facts(tmp_path).image_size == (32, 32)  # without a preprocessor_config.json
    stated = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.1, 0.2, 0.3], "size": {"shortest_edge": 64}}
    stated |= {"crop_size": {"height": 56, "width": 48}, "do_center_crop": True, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: my-licence\n---\nA model.")
    facts = read_facts(tmp_path)
    assert (facts.mean, facts.std) == ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    assert (facts.image_size, facts.interpolation, facts.crop_pct) == ((56, 48), "bicubic", 0.75)
    assert facts.licence == "my-licence"


def test_a_licence_that_restricts_is_said(copy):
    _cfg(copy, license="cc-by-nc-4.0")
    with pytest.warns(UserWarning, match="licence of the weights of .*cc-by-nc-4.0"):
        classifier = kt.Classifier(str(copy), ["a", "b"], image_size=42)
    assert classifier.metadata["licence"] == "cc-by-nc-4.0"


def test_groups_are_the_blocks(classifier, folder):
    from keras_transfer.models.freeze import apply_train
    from keras_transfer.models.groups import layer_groups

    assert [name for name, _ in layer_groups(classifier.model, str(folder))] == ["stem", "block0", "block1", "block2"]
    layers = apply_train(classifier.model, str(folder), "last 2 groups").layers
    assert {name.partition("_")[0] for name in layers} == {"block1", "block2", "head", "logits"}


def test_frozen_blocks_are_cut_off(classifier, folder):
    from keras_transfer.engine.prefix import find_cut
    from keras_transfer.models.freeze import apply_train

    apply_train(classifier.model, str(folder), "last 2 groups")
    assert find_cut(classifier.model).name == "block0_add2"
    apply_train(classifier.model, str(folder), "head")
    assert find_cut(classifier.model).name == "pool"


def test_saved_files_load_with_plain_keras(classifier, tmp_path):
    import keras

    classifier.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).integers(0, 256, (2, 42, 56, 3)).astype(np.uint8)
    expected = computed(classifier.model, images)
    assert relative(computed(keras.models.load_model(tmp_path / "model.keras"), images), expected) < 1e-6
    loaded = kt.load(tmp_path / "model.keras")
    assert loaded.metadata["licence"] == "apache-2.0"
    assert {type(layer).__module__.split(".")[0] for layer in loaded.model.layers} == {"keras"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_it_exports(name, classifier, tmp_path):
    from keras_transfer.export import export

    classifier.save(tmp_path / "model.keras")
    (found,) = export(tmp_path / "model.keras", [name], output=tmp_path / "out")
    assert found["agrees"] and found["max_difference"] < 1e-4


def test_preprocessing_is_in_the_model(classifier, folder):
    images = np.random.default_rng(0).integers(0, 256, (2, 42, 56, 3)).astype(np.float32)
    stated = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    pixels = ((images / 255 - stated["mean"]) / stated["std"]).astype(np.float32)
    import keras

    pooled = keras.Model(classifier.model.input, classifier.model.get_layer("pool").output)
    assert relative(computed(pooled, images), computed(converted(folder, (42, 56)), pixels)) < 1e-5


def test_grad_cam_finds_the_patch_that_matters(classifier):
    from keras_transfer.explain.grad_cam import gradcam

    images = np.random.default_rng(0).integers(0, 256, (2, 42, 56, 3)).astype(np.uint8)
    maps = gradcam(classifier.model, images, 0)
    assert maps.shape == (2, 42, 56) and maps.max() == 1 and maps.min() >= 0
    assert not np.allclose(maps[0], maps[1])


def test_two_phases_train_the_last_blocks(folder, tmp_path):
    photos = make_photos(tmp_path / "photos", {"apple": 12, "berry": 12})
    data = kt.data.folder(photos, image_size=42)
    classifier = kt.Classifier(str(folder), data.classes, image_size=42)
    before = {v.path: np.array(v) for v in classifier.model.weights}
    phases = [kt.Phase("head", solver="exact"), kt.Phase("fine", epochs=2, train="last 2 groups", learning_rate=1e-3)]
    result = classifier.fit(
        data, phases, batch_size=8, verbose=False
    )  # the audit raises an error where frozen weights move
    moved = {path for path, value in before.items() if not np.array_equal(value, np.array(_weight(classifier, path)))}
    assert {path.partition("_")[0].partition("/")[0] for path in moved} == {"block1", "block2", "head", "logits"}
    assert result.history[-1]["val_accuracy"] >= 0.75


def _weight(classifier, path):
    return next(v for v in classifier.model.weights if v.path == path)


def _bare(path, config, **files):
    path.mkdir(exist_ok=True)
    for name, content in {"config": config, **files}.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("efficientnet", "EfficientNetImageProcessor"),  # divides by the deviation twice
        ("mobilevit", "MobileViTImageProcessor"),  # blue, green, red, and no mean
        ("vit", "ViTImageProcessor"),
        ("levit", "LevitImageProcessor"),
    ],
)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_normalize": False},
        {"rescale_factor": 1 / 127.5},
        {"do_rescale": False},
        {"do_flip_channel_order": False},
    ],
    ids=str,
)
def test_pixels_are_those_of_the_image_processor(kind, name, settings, tmp_path):
    from keras_transfer.models.backbones.checkpoint import preprocessing
    from keras_transfer.models.checkpoints.record import read_facts

    processor = getattr(transformers, name)(**settings)
    _bare(tmp_path, {"model_type": kind})
    processor.save_pretrained(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    wanted = processor(image, return_tensors="pt", do_resize=False, do_center_crop=False)["pixel_values"][0]
    found = preprocessing(read_facts(tmp_path)).array(image)
    np.testing.assert_allclose(found, wanted.numpy().transpose(1, 2, 0), rtol=1e-5, atol=1e-5)


def test_a_processor_beside_a_tokenizer(tmp_path):
    from keras_transfer.models.checkpoints.record import read_facts

    stated = {"image_processor": {"image_mean": [0.4, 0.5, 0.6], "size": {"height": 64, "width": 48}}}
    facts = read_facts(_bare(tmp_path, {"model_type": "clip"}, processor_config=stated))
    assert (facts.mean, facts.image_size) == ((0.4, 0.5, 0.6), (64, 48))


@pytest.mark.parametrize(("kind", "mean"), [("clip_vision_model", 0.48145466), ("dinov2", 0.485), ("vit", 0.5)])
def test_without_a_processor_the_usual_one_counts(kind, mean, tmp_path):
    from keras_transfer.models.checkpoints.record import read_facts

    assert read_facts(_bare(tmp_path, {"model_type": kind})).mean[0] == mean


def test_a_configuration_of_one_level_as_timm_wrote_it(copy, folder):
    from keras_transfer.models.checkpoints.record import read_facts

    config = json.loads((copy / "config.json").read_text())
    stated = {**config.pop("pretrained_cfg"), "mean": [0.1, 0.2, 0.3], "labels": ["a", "b"]}
    (copy / "config.json").write_text(json.dumps({**stated, "architecture": config["architecture"]}))
    facts = read_facts(copy)
    assert (facts.mean, facts.image_size, facts.licence) == ((0.1, 0.2, 0.3), (42, 42), "apache-2.0")
    assert facts.class_names == ("a", "b")


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "vit", "num_channels": 1},
        {"architecture": "resnet18", "model_args": {"in_chans": 1}},
        {"architecture": "resnet18", "pretrained_cfg": {"input_size": [1, 64, 64], "mean": [0.5]}},
    ],
)
def test_a_network_of_grey_pictures_is_refused(config, tmp_path):
    from keras_transfer.models.checkpoints.record import read_facts

    with pytest.raises(UserError, match="3 channels, got 1"):
        read_facts(_bare(tmp_path, config))


_ODD = [
    None,
    "x",
    [],
    {},
    [1, 2],
    True,
    -1,
    0,
    1e400,
    {"height": 1},
    {"shortest_edge": [1]},
    {"longest_edge": 5},
    [None] * 3,
]


@pytest.mark.parametrize(
    "key",
    ["size", "crop_size", "image_mean", "image_std", "rescale_factor", "resample", "image_processor", "num_channels"],
)
def test_impossible_values_are_one_line(key, tmp_path):
    from keras_transfer.models.checkpoints.record import read_facts

    for value in _ODD:
        for place in ("config", "preprocessor_config"):
            files = {"config": {"model_type": "vit"}, "preprocessor_config": {}}
            files[place][key] = value
            try:
                read_facts(_bare(tmp_path, **files))
            except UserError as error:
                assert "\n" not in str(error)


def test_a_configuration_cannot_ask_for_endless_blocks(copy):
    _args(copy, depth=10**9)
    with pytest.raises(UserError, match="depth: expected"):
        converted(copy, (42, 42))


def _rewrite(path, change):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors")


def _header(path, change):
    file = path / "model.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def _config(path, **changes):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **changes}))


def _cfg(path, **changes):
    config = json.loads((path / "config.json").read_text())
    _config(path, pretrained_cfg={**config["pretrained_cfg"], **changes})


def _args(path, **changes):
    config = json.loads((path / "config.json").read_text())
    _config(path, model_args={**config["model_args"], **changes})


def _index(path, where):
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (path / "model.safetensors").rename(path / "part.safetensors")


def _keys(path):
    from safetensors import safe_open

    return list(safe_open(path / "model.safetensors", "np").keys())


def _swap(tensors):
    a, b = "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight"
    tensors[a], tensors[b] = tensors[b], tensors[a]


DAMAGES = {
    "missing tensor": (lambda p: _rewrite(p, lambda t: t.pop("blocks.1.norm1.weight")), r"blocks\.1\.norm1\.weight"),
    "missing block": (
        lambda p: _rewrite(p, lambda t: [t.pop(k) for k in list(t) if k.startswith("blocks.1.")]),
        r"blocks\.1",
    ),
    "missing last block": (
        lambda p: _rewrite(p, lambda t: [t.pop(k) for k in list(t) if k.startswith("blocks.2.")]),
        r"blocks\.2",
    ),
    "depth of another network": (lambda p: _config(p, model_args={"num_heads": 2, "img_size": 42}), r"blocks\.3"),
    "missing bias": (lambda p: _rewrite(p, lambda t: t.pop("blocks.1.attn.proj.bias")), r"blocks\.1\.attn\.proj\.bias"),
    "missing bias of a norm": (lambda p: _rewrite(p, lambda t: t.pop("norm.bias")), r"norm\.bias"),
    "missing positions": (lambda p: _rewrite(p, lambda t: t.pop("pos_embed")), "pos_embed"),
    "extra tensor": (lambda p: _rewrite(p, lambda t: t.update(other=np.ones(3, np.float32))), "1 tensors .* other"),
    "swapped tensors": (lambda p: _rewrite(p, _swap), "does not fit"),
    "transposed": (
        lambda p: _rewrite(p, lambda t: t.update({"norm.weight": np.ones((2, 24), np.float32)})),
        "does not fit",
    ),
    "integers": (
        lambda p: _rewrite(p, lambda t: t.update({"norm.weight": np.ones(24, np.int8)})),
        "norm.weight' has type I8",
    ),
    "not finite": (
        lambda p: _rewrite(p, lambda t: t.update({"norm.weight": np.full(24, np.nan, np.float32)})),
        "not finite",
    ),
    "all zeros": (
        lambda p: _rewrite(p, lambda t: t.update({k: np.zeros_like(v) for k, v in t.items()})),
        "same features",
    ),
    "truncated": (
        lambda p: (p / "model.safetensors").write_bytes((p / "model.safetensors").read_bytes()[:-10]),
        "cannot read",
    ),
    "empty": (lambda p: (p / "model.safetensors").write_bytes(b""), "cannot read"),
    "a pickle": (lambda p: (p / "model.safetensors").write_bytes(b"\x80\x04K\x01." * 10), "cannot read"),
    "huge header": (
        lambda p: (p / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b" " * 99),
        "a header of",
    ),
    "unknown type": (lambda p: _header(p, lambda h: h["norm.weight"].update(dtype="F7")), "cannot read"),
    "outside the file": (
        lambda p: _header(p, lambda h: h["norm.weight"].update(data_offsets=[1 << 30, (1 << 30) + 96])),
        "cannot read",
    ),
    "no weights": (lambda p: (p / "model.safetensors").unlink(), "does not exist"),
    "another name": (lambda p: (p / "model.safetensors").rename(p / "a.safetensors"), "'a.safetensors' has the whole"),
    "a pickle alone": (
        lambda p: (p / "model.safetensors").rename(p / "pytorch_model.bin"),
        "'pytorch_model.bin' is a pickle.*save_file",
    ),
    "halves of a head": (lambda p: _args(p, num_heads=1.5), "num_heads: expected"),
    "index leaves the folder": (lambda p: _index(p, {"norm.weight": "../part.safetensors"}), r"\.\./part"),
    "index names an absent file": (lambda p: _index(p, {"norm.weight": "b.safetensors"}), "does not exist"),
    "index lists other tensors": (lambda p: _index(p, {"x": "part.safetensors"}), "does not fit"),
    "index is no JSON": (
        lambda p: (_index(p, {}), (p / "model.safetensors.index.json").write_text("{")),
        "index.json",
    ),
    "config is no JSON": (lambda p: (p / "config.json").write_text("[" * 100000), "config.json"),
    "config is a list": (lambda p: (p / "config.json").write_text("[1]"), "JSON object"),
    "no architecture": (lambda p: (p / "config.json").write_text("{}"), "neither"),
    "unknown architecture": (lambda p: _config(p, architecture="vit_smal_patch14"), "did you mean"),
    "impossible deviation": (lambda p: _cfg(p, std=[0, 1, 1]), "std: expected three positive"),
    "impossible mean": (lambda p: _cfg(p, mean="red"), "mean: expected three"),
    "impossible size": (lambda p: _cfg(p, input_size=[3, -1, 5]), "image size"),
    "impossible heads": (lambda p: _config(p, model_args={"num_heads": 7, "depth": 3}), "7 heads"),
    "impossible pooling": (lambda p: _args(p, global_pool="sum"), "global_pool"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_one_line(damage, copy):
    spoil, message = DAMAGES[damage]
    spoil(copy)
    with pytest.raises(UserError, match=message) as error:
        kt.Classifier(str(copy), ["a", "b"], image_size=42)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_shards_are_one_checkpoint(folder, copy):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    halves = {"a.safetensors": dict(list(tensors.items())[::2]), "b.safetensors": dict(list(tensors.items())[1::2])}
    for name, half in halves.items():
        save_file(half, copy / name)
    where = {key: name for name, half in halves.items() for key in half}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    images = noise((42, 42))
    assert relative(computed(converted(copy, (42, 42)), images), computed(converted(folder, (42, 42)), images)) == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:nothing", "expected hf:ORG/NAME"),
        ("hf:a/b/c", "expected hf:ORG/NAME"),
        ("no/such/folder", "no such folder .*model.safetensors"),
        (".", "no config.json"),
    ],
)
def test_a_reference_that_leads_nowhere(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from keras_transfer.models.checkpoints.reference import find

    with pytest.raises(UserError, match=message):
        find(name)


def test_checkpoints_are_not_joined(folder):
    from keras_transfer.models.backbones import get

    for name in (f"{folder}+efficientnet_lite0", f"timm:vit_small_patch16_224+{folder}"):
        with pytest.raises(UserError, match=r"only backbones of the table can be joined by \+") as error:
            get(name)
        assert "\n" not in str(error.value)


def test_a_folder_may_have_a_plus_in_its_name(folder, tmp_path):
    from keras_transfer.models.backbones import get

    assert get(str(shutil.copytree(folder, tmp_path / "a+b"))).licence == "apache-2.0"


def test_offline_the_error_names_the_layout_and_the_embedded_backbone(monkeypatch):
    import huggingface_hub.constants

    from keras_transfer.models.backbones import get

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        UserError, match=r"a folder with config.json and model.safetensors.*efficientnet_lite0"
    ) as error:
        get("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "none"}, "has no weights 'none'"),
        ({"pooling": "max"}, "pools its features itself"),
        ({"stem": "small_image"}, "cuts images into patches"),
        ({"image_size": 8}, "at least 32 px"),
    ],
)
def test_options_that_a_checkpoint_does_not_have(options, message, folder):
    with pytest.raises(UserError, match=message):
        kt.Classifier(str(folder), ["a", "b"], **{"image_size": 42, **options})


def test_the_list_filters(folder, capsys):
    from keras_transfer.cli import main

    assert main(["backbones", "--installed", "--licence", "APACHE"]) in (0, None)
    text = capsys.readouterr().out
    assert "efficientnet_lite0" in text and "resnet50" not in text
    main(["backbones", str(folder), "--max-mb", "1"])
    text = capsys.readouterr().out
    assert str(folder) in text and "apache-2.0" in text and "vit_small_patch14_dinov2" in text
    main(["backbones", str(folder), "--max-mb", "0.001"])
    assert "no backbone passes" in capsys.readouterr().out


def test_the_sizes_in_the_list_are_those_of_the_networks():
    from keras_transfer.models.backbones import BACKBONES, get
    from keras_transfer.models.backbones.sizes import PARAMETERS

    assert set(PARAMETERS) == set(BACKBONES.built_in)
    for name in ("tiny", "efficientnet_lite0", "alexnet"):
        assert get(name).build((64, 64, 3), "none").count_params() == PARAMETERS[name]
