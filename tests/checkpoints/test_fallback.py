"""A family that does not have an option of a checkpoint leaves it to a trace of its library; nothing odd is silently another network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.models.checkpoints.traced import network
from tests.checkpoints.references import (
    computed,
    converted,
    nchw,
    noise,
    randomised,
    relative,
    timm_features,
    timm_folder,
    torch,
    transformers,
)

_VIT = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2}
_NARROW = {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}
_SWIN = {"img_size": 64, "embed_dim": 16, "depths": (1, 2), "num_heads": (1, 2), "window_size": 4}
_RESNET = {"layers": (1, 1, 1, 1)}
_TRACED = [
    ("vit_tiny_patch16_224", {**_VIT, "final_norm": False}),
    ("vit_tiny_patch16_224", {**_VIT, "norm_layer": "simplenorm"}),
    ("vit_tiny_patch16_224", {**_VIT, "act_layer": "mish"}),
    ("vit_tiny_patch16_224", {**_VIT, "embed_norm_layer": "layernorm"}),
    ("eva02_tiny_patch14_224", {**_VIT, "rope_temperature": 100.0}),
    ("eva02_tiny_patch14_224", {**_VIT, "use_post_norm": True}),
    ("eva02_tiny_patch14_224", {**_VIT, "use_abs_pos_emb": False}),
    ("eva02_tiny_patch14_224", {**_VIT, "global_pool": "map"}),
    ("beit_base_patch16_224", {**_VIT, "swiglu_mlp": True}),
    ("swin_tiny_patch4_window7_224", {**_SWIN, "mlp_ratio": 2.0}),
    ("convnext_tiny", {**_NARROW, "output_stride": 16}),
    ("convnext_tiny", {**_NARROW, "global_pool": ""}),
    ("resnet18", {**_RESNET, "act_layer": "silu"}),
    ("resnet18", {**_RESNET, "global_pool": "catavgmax"}),
]
_KNOWN = [
    ("vit_tiny_patch16_224", {**_VIT, "global_pool": "avg", "pool_include_prefix": True}),
    ("convnext_tiny", {**_NARROW, "patch_size": 2}),
    ("convnext_tiny", {**_NARROW, "ls_init_value": None}),
]


def _named(cases: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    return [pytest.param(name, args, id=f"{name}-{list(args)[-1]}") for name, args in cases]


def _difference(folder: Path, name: str, args: dict[str, Any], traced: bool) -> float:
    model, images = timm_folder(folder, name, **args), noise((64, 64))
    made = converted(folder, (64, 64))
    assert made.name.startswith("traced") is traced
    found, wanted = computed(made, images), timm_features(model, images)
    if wanted.ndim == 4:
        found, wanted = found.mean((1, 2)), wanted.mean((2, 3))
    return relative(found.mean((1, 2)) if found.ndim == 4 else found, wanted)


@pytest.mark.parametrize(("name", "args"), _named(_TRACED))
def test_an_option_that_the_family_does_not_have_is_traced(name: str, args: dict[str, Any], tmp_path: Path) -> None:
    assert _difference(tmp_path, name, args, traced=True) < 1e-5


@pytest.mark.parametrize(("name", "args"), _named(_KNOWN))
def test_an_option_that_the_family_has(name: str, args: dict[str, Any], tmp_path: Path) -> None:
    assert _difference(tmp_path, name, args, traced=False) < 1e-5


_SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 64, "patch_size": 16,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Dinov2ForImageClassification", {**_SMALL, "hidden_act": "mish"}),
        ("BeitForImageClassification", {**_SMALL, "use_absolute_position_embeddings": True}),
        ("MobileNetV2ForImageClassification", {"depth_multiplier": 0.25, "output_stride": 16}),
    ],
)
def test_an_option_of_transformers(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    kind = getattr(transformers, name)
    model = randomised(kind(kind.config_class(num_labels=7, **settings)))
    model.save_pretrained(tmp_path)
    images, last = noise((64, 64)), model.classifier
    made = converted(tmp_path, (64, 64))
    assert made.name == "traced_transformers"
    with torch.no_grad():
        wanted = model(nchw(images)).logits.numpy()
    found = computed(made, images) @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    assert relative(found, wanted) < 1e-5


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Return a checkpoint of a network that its family does not have."""
    timm_folder(tmp_path, "vit_tiny_patch16_224", **_VIT, final_norm=False)
    return tmp_path


def test_without_the_library_the_refusal_says_what_to_install(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = network.importlib.util.find_spec
    monkeypatch.setattr(network.importlib.util, "find_spec", lambda name: None if name == "timm" else found(name))
    with pytest.raises(
        UserError, match=r"model_args 'final_norm' is not supported.*pip install 'keras_transfer\[timm\]'"
    ) as error:
        converted(odd, (64, 64))
    assert "\n" not in str(error.value)


def _rewrite(folder: Path, change: Any) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("blocks.1.norm1.weight"), r"blocks\.1\.norm1\.weight"),
        (lambda t: t.update(other=np.ones(3, np.float32)), "other"),
        (lambda t: t.update({"blocks.1.norm1.weight": np.ones(31, np.float32)}), r"blocks\.1\.norm1\.weight"),
        (lambda t: t.update({"blocks.1.norm1.weight": np.ones(32, np.int8)}), "type I8, expected floating point"),
        (lambda t: t.update({"blocks.1.norm1.weight": np.full(32, np.nan, np.float32)}), "not finite"),
    ],
)
def test_a_damaged_checkpoint_is_not_rescued(change: Any, message: str, odd: Path) -> None:
    _rewrite(odd, change)
    with pytest.raises(UserError, match=message) as error:
        converted(odd, (64, 64))
    assert "\n" not in str(error.value)


def test_a_damaged_checkpoint_of_a_family_is_not_traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm_folder(tmp_path, "vit_tiny_patch16_224", **_VIT)
    _rewrite(tmp_path, lambda t: t.pop("blocks.1.norm1.weight"))
    monkeypatch.setattr(network, "features_of", lambda *_: pytest.fail("it was traced"))
    with pytest.raises(UserError, match="has no tensor"):
        converted(tmp_path, (64, 64))


def test_a_traced_network_may_be_in_several_files(odd: Path) -> None:
    from safetensors.numpy import load_file, save_file

    images, whole = noise((64, 64)), converted(odd, (64, 64))
    tensors = load_file(odd / "model.safetensors")
    (odd / "model.safetensors").unlink()
    where = {key: f"{i % 2}.safetensors" for i, key in enumerate(tensors)}
    for name in set(where.values()):
        save_file({key: value for key, value in tensors.items() if where[key] == name}, odd / name)
    (odd / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    np.testing.assert_array_equal(computed(converted(odd, (64, 64)), images), computed(whole, images))


def test_what_transformers_says_about_a_damaged_checkpoint_is_not_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kind = transformers.PvtV2ForImageClassification
    randomised(kind(kind.config_class(depths=[1, 1, 1, 1]))).save_pretrained(tmp_path)
    capfd.readouterr()
    _rewrite(tmp_path, lambda t: t.update({"classifier.bias": np.ones(3, np.float32)}))
    with pytest.raises(UserError, match=r"mismatched keys: .*classifier\.bias"):
        converted(tmp_path, (64, 64))
    assert capfd.readouterr() == ("", "")
