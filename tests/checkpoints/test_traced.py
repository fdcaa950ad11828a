"""Networks that no family knows are traced from timm or transformers, and compute what those compute."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.errors import UserError
from keras_transfer.models.checkpoints.convert import convert
from keras_transfer.models.checkpoints.tensors import read_checkpoint
from tests.checkpoints.conv_references import CASES, Case, Reference, pictures, reference
from tests.checkpoints.references import by_openvino, check_every_weight_matters, check_its_file_is_taken, transformers

SIZE = (64, 96)
# Between them: windows, attention with biases and with several maps, standardised kernels, branches of several sizes, resizing, one-dimensional
# convolutions, pooling that does not count its padding, gates of several kinds, products of matrices, and blurred pooling.
TIMM = [
    Case("mobilevit_xxs"),
    Case("edgenext_xx_small"),
    Case("pvt_v2_b0"),
    Case("nf_regnet_b0"),
    Case("hrnet_w18_small", {}, ((64, 96),)),
    Case("efficientvit_b0"),
    Case("ghostnetv2_100"),
    Case("eca_resnet33ts"),
    Case("starnet_s050"),
    Case("resnetblur18"),
    Case("repghostnet_050"),
]
EXHAUSTIVE = [
    "poolformer_s12",
    "caformer_s18",
    "cait_xxs24_224",
    "tiny_vit_5m_224",
    "botnet26t_256",
    "gcresnet33ts",
    "convit_tiny",
    "cs3darknet_s",
    "davit_tiny",
    "dla34",
    "dpn48b",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "efficientvit_m0",
    "fasternet_t0",
    "focalnet_tiny_srf",
    "hardcorenas_a",
    "hgnet_tiny",
    "hieradet_small",
    "iformer_s",
    "inception_next_atto",
    "lcnetv2_small",
    "levit_128s",
    "mambaout_femto",
    "gmlp_ti16_224",
    "resmlp_12_224",
    "mixer_s32_224",
    "nest_tiny",
    "nextvit_small",
    "eca_nfnet_l0",
    "pit_ti_224",
    "rdnet_tiny",
    "regnetz_005",
    "res2net50_14w_8s",
    "resnest14d",
    "ecaresnet26t",
    "rexnet_100",
    "selecsls42",
    "legacy_seresnet18",
    "shvit_s1",
    "skresnet18",
    "swiftformer_xs",
    "swinv2_cr_tiny_224",
    "tnt_s_patch16_224",
    "tresnet_m",
    "twins_svt_small",
    "visformer_tiny",
    "ese_vovnet19b_dw",
    "test_vit_relpos",
    "samvit_base_patch16_224",
    "vitamin_small_224",
    "xcit_nano_12_p16_224",
    "crossvit_tiny_240",
    "hiera_tiny_224",
    "mobilenetv4_conv_aa_medium",
    "densenetblur121d",
    "regnetv_040",
    "efficientnet_b0_gn",
    "gernet_s",
    "maxvit_tiny_tf_224",
    "coatnet_nano_rw_224",
    "vit_tiny_r_s16_p8_224",
    "vit_base_patch16_rope_mixed_224",
    "skresnext50_32x4d",
    "convmixer_768_32",
    "efficientvim_m1",
    "cpubone_b0_bfrobust",
    "mobilevitv2_050",
]
TRANSFORMERS = [
    ("PvtV2ForImageClassification", {"depths": [1, 1, 1, 1]}),
    ("PoolFormerForImageClassification", {"depths": [1, 1, 1, 1]}),
    ("MobileViTForImageClassification", {}),
    ("SegformerForImageClassification", {"depths": [1, 1, 1, 1]}),
    ("LevitForImageClassification", {"depths": [1, 1, 1], "image_size": 128}),
]
EVERYWHERE = ("mobilevit_xxs", "efficientvit_b0")  # all operations that differ between backends


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of a small network that no family knows."""
    return reference(Case("edgenext_xx_small"), tmp_path_factory.mktemp("edgenext")).folder


def _computed(network: keras.Model, images: np.ndarray) -> np.ndarray:
    found = keras.ops.convert_to_numpy(network(images, training=False))
    return found.mean((1, 2)) if found.ndim == 4 else found


def _check(ref: Reference, size: tuple[int, int], tolerance: float = 1e-5) -> keras.Model:
    images, checkpoint = pictures(size, 3), read_checkpoint(ref.folder)
    network = convert(checkpoint, size)
    assert network.name.startswith("traced")
    found, wanted = _computed(network, images), ref.features(images)
    wanted = wanted.mean((2, 3)) if wanted.ndim == 4 else wanted
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3 * np.abs(wanted).max()
    check_its_file_is_taken(network)
    assert len({layer.name.partition("_")[0] for layer in network.layers if layer.weights}) >= 4  # groups
    return network


EACH = [
    pytest.param(case, id=str(case), marks=[pytest.mark.backend] if case.name in EVERYWHERE else []) for case in TIMM
]


@pytest.mark.parametrize("case", EACH)
def test_network_of_timm(case: Case, tmp_path: Path) -> None:
    network = _check(reference(case, tmp_path), SIZE)
    check_every_weight_matters(network, pictures(SIZE), "relative_position|attn.*k_(bias|norm)")


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", EXHAUSTIVE)
def test_other_network_of_timm(name: str, tmp_path: Path) -> None:
    from tests.checkpoints.references import timm, timm_features, timm_folder

    model = timm_folder(tmp_path, name)
    size = tuple(timm.get_pretrained_cfg(name).input_size[1:])
    images = pictures(size)
    wanted = timm_features(model, images)
    network = convert(read_checkpoint(tmp_path), size)
    assert np.abs(_computed(network, images) - wanted).max() <= 1e-5 * np.abs(wanted).max()
    check_its_file_is_taken(network)


@pytest.mark.parametrize(("name", "settings"), TRANSFORMERS)
def test_network_of_transformers(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    import torch

    from tests.checkpoints.references import randomised

    kind = getattr(transformers, name)
    model = randomised(kind(kind.config_class(num_labels=7, **settings)))
    model.save_pretrained(tmp_path)
    size = (128, 128)
    images = pictures(size)
    network = convert(read_checkpoint(tmp_path), size)
    with torch.no_grad():
        wanted = model(torch.from_numpy(images).permute(0, 3, 1, 2)).logits.numpy()
    # The classifiers' weights on the features found here must give the model's own logits.
    lasts = [part for part in model.modules() if isinstance(part, torch.nn.Linear) and part.out_features == 7]
    features = _computed(network, images)
    logits = [features @ last.weight.detach().numpy().T + last.bias.detach().numpy() for last in lasts]
    assert np.abs(np.mean(logits, axis=0) - wanted).max() <= 1e-5 * np.abs(wanted).max()
    check_its_file_is_taken(network)
    assert len({layer.name.partition("_")[0] for layer in network.layers if layer.weights}) >= 4  # groups


def test_its_classifier_trains_saves_and_loads_in_plain_keras(folder: Path, tmp_path: Path) -> None:
    clf = kt.Classifier(str(folder), classes=["a", "b"], image_size=64)
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3)).astype(np.float32)
    before = _computed(clf.model, images)
    clf.model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    clf.model.trainable = True
    clf.model.fit(images, np.arange(8) % 2, verbose=0)
    assert not np.array_equal(before, _computed(clf.model, images))
    clf.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert all(type(layer).__module__.startswith("keras.") for layer in loaded.layers)
    np.testing.assert_allclose(_computed(loaded, images), _computed(clf.model, images), atol=1e-5)
    np.testing.assert_allclose(_computed(kt.load(tmp_path / "model.keras").model, images), _computed(loaded, images))


def test_openvino_computes_it_too(folder: Path) -> None:
    network, images = convert(read_checkpoint(folder), (64, 64)), pictures((64, 64))
    wanted = keras.ops.convert_to_numpy(network(images, training=False))
    found = by_openvino(network, images)
    assert np.abs(found.reshape(wanted.shape) - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("name", ["mobilevit_xxs", "pvt_v2_b0"])
def test_frozen_features_are_those_of_the_backend(name: str, tmp_path: Path) -> None:
    """The first merges windows into the batch."""
    pytest.importorskip("openvino")
    from keras_transfer.engine.extractors import choose_extractor

    network, said = convert(read_checkpoint(reference(Case(name), tmp_path).folder), (64, 64)), []
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    ((_, found),) = choose_extractor(network, "float32", False, said.append).compute([images])
    wanted = keras.ops.convert_to_numpy(network(images.astype(np.float32), training=False))
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
    assert all("OpenVINO is not used" in line and "\n" not in line for line in said)


def test_an_engine_that_computes_something_else_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    from keras_transfer.engine import extractors

    network, said = convert(read_checkpoint(folder), (64, 64)), []
    right = extractors.OpenVINOExtractor.compute
    monkeypatch.setattr(extractors, "_MOVING", ("Conv2D",))
    monkeypatch.setattr(
        extractors.OpenVINOExtractor, "compute", lambda self, batches: ((n, 1.1 * x) for n, x in right(self, batches))
    )
    assert "OpenVINO" not in extractors.choose_extractor(network, "float32", False, said.append).name
    assert "its features differ by" in said[0]


def test_last_groups_are_blocks(folder: Path) -> None:
    from keras_transfer.models.groups import layer_groups

    clf = kt.Classifier(str(folder), classes=["a", "b"], image_size=64)
    names = [name for name, _ in layer_groups(clf.model, str(folder))]
    assert names[0] == "stem"
    assert names[-2:] == ["stages3x0", "stages3x1"]


def _changed(folder: Path, target: Path, **config: object) -> Path:
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    found = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**found, **config}))
    return target


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "edgenext_small"}, "timm cannot build 'edgenext_small'"),
        ({"architecture": "edgenext_xx_smal"}, "timm has no image network of this name"),
        ({"model_args": {"depths": [10**9, 1, 1, 1]}}, "it has the number 1000000000"),
        ({"model_args": {"no_such_argument": 1}}, "timm cannot build"),
        ({"num_classes": 10**12}, "does not fit"),
        ({"model_args": {"checkpoint_path": "weights.pth"}}, "not of a network"),
        ({"model_args": {"pretrained_cfg_overlay": {"url": "http://localhost"}}}, "not of a network"),
        ({"model_args": {"features_only": True}}, "not of a network"),
    ],
)
def test_a_configuration_that_does_not_fit_is_an_error(
    config: dict[str, object], message: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        convert(read_checkpoint(_changed(folder, tmp_path, **config)), (64, 64))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_no_other_source_of_weights_is_asked(folder: Path, tmp_path: Path) -> None:
    elsewhere = {"source": "hf-hub", "hf_hub_id": "org/name", "url": "http://localhost/x.pth", "custom_load": True}
    changed = _changed(folder, tmp_path, pretrained_cfg={**elsewhere, "state_dict": {}, "input_size": [3, 64, 64]})
    images = pictures((64, 64))
    one, other = (_computed(convert(read_checkpoint(path), (64, 64)), images) for path in (folder, changed))
    assert np.array_equal(one, other)


def test_an_adapter_is_not_a_network(tmp_path: Path) -> None:
    kind = transformers.PoolFormerForImageClassification
    kind(kind.config_class(depths=[1, 1, 1, 1])).save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="or an adapter"):
        convert(read_checkpoint(tmp_path), (64, 64))


def test_a_network_of_text_is_none_of_images(tmp_path: Path) -> None:
    kind = transformers.BertModel
    kind(
        kind.config_class(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="transformers has no image network of this name"):
        convert(read_checkpoint(tmp_path), (64, 64))


def test_a_missing_tensor_is_an_error_that_names_it(folder: Path, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    _changed(folder, tmp_path)
    tensors = safetensors.load_file(folder / "model.safetensors")
    gone = next(key for key in tensors if key.startswith("stages.2"))
    del tensors[gone]
    safetensors.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=gone):
        convert(read_checkpoint(tmp_path), (64, 64))


def test_without_its_library_the_error_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "timm" else find(name))
    with pytest.raises(UserError, match=r"timm is not installed: pip install 'keras_transfer\[timm\]'"):
        convert(read_checkpoint(folder), (64, 64))


def test_a_network_with_an_operation_without_counterpart_is_refused(tmp_path: Path) -> None:
    from tests.checkpoints.references import timm_folder

    timm_folder(tmp_path, "sequencer2d_s", layers=(1, 1, 1, 1))
    with pytest.raises(UserError, match="no counterpart for the operation lstm"):
        convert(read_checkpoint(tmp_path), (64, 64))


def test_conversions_of_other_families_are_not_traced() -> None:
    from keras_transfer.models.checkpoints.known import family_of
    from keras_transfer.models.checkpoints.record import Facts

    for case in CASES:
        if case.name[0].islower():
            assert not family_of(Facts("timm", case.name, {})).name.startswith("traced")
