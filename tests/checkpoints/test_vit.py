"""Vision transformers of timm and transformers: the same features, at the trained and at other sizes."""

from __future__ import annotations

import pytest

from tests.checkpoints.references import (
    by_openvino,
    check_every_weight_matters,
    check_its_file_is_taken,
    computed,
    converted,
    nchw,
    noise,
    relative,
    timm_features,
    timm_folder,
    torch,
    transformers,
    transformers_folder,
)

pytestmark = pytest.mark.backend
TINY = {"embed_dim": 48, "depth": 2, "num_heads": 4}  # heads of 12 channels

# timm's architecture → patch size
TIMM = {
    "vit_small_patch16_224": 16,
    "vit_base_patch14_dinov2": 14,
    "vit_base_patch14_reg4_dinov2": 14,
    "vit_giant_patch14_reg4_dinov2": 14,  # SwiGLU
    "deit_small_distilled_patch16_224": 16,
    "deit3_small_patch16_224": 16,
    "vit_base_patch16_siglip_224": 16,
    "vit_base_patch32_siglip_gap_256": 32,  # GELU by tanh
    "vit_base_patch16_clip_224": 16,
    "vit_base_patch16_clip_quickgelu_224": 16,
    "vit_medium_patch16_reg4_gap_256": 16,
    "beit3_base_patch16_224": 16,
    "test_vit4": 16,  # RMSNorm
    "beit_base_patch16_224": 16,
    "eva02_tiny_patch14_224": 14,
    "eva02_base_patch14_224": 14,  # split gate
    "eva02_base_patch16_clip_224": 16,
    "eva_giant_patch14_224": 14,
    "vit_small_patch16_dinov3": 16,
    "vit_small_plus_patch16_dinov3_qkvb": 16,
    "vit_pe_core_base_patch16_224": 16,
    "vit_base_patch16_rope_ape_224": 16,
}


def _some(names, everywhere):
    """The networks to test: these on every backend, the others on the first, since they consist of the same layers."""
    return [pytest.param(name, marks=[] if name in everywhere else [pytest.mark.slow]) for name in names]


@pytest.mark.parametrize("architecture", _some(TIMM, ("vit_small_patch16_224", "eva02_base_patch14_224")))
def test_timm(architecture, tmp_path):
    patch = TIMM[architecture]
    trained, other = (2 * patch, 3 * patch), (4 * patch, 2 * patch)
    theirs = timm_folder(tmp_path, architecture, img_size=trained, **TINY)
    ours = converted(tmp_path, trained)
    features = computed(ours, noise(trained))
    assert relative(features, timm_features(theirs, noise(trained))) < 1e-5
    check_every_weight_matters(ours, noise(trained, 1))
    check_its_file_is_taken(ours)
    with torch.no_grad():
        if not hasattr(theirs, "head_dist"):
            logits = features @ theirs.head.weight.numpy().T + theirs.head.bias.numpy()
            assert relative(logits, theirs(nchw(noise(trained))).numpy()) < 1e-5
    assert relative(by_openvino(ours, noise(trained)), features) < 1e-5
    theirs.set_input_size(other)
    assert relative(computed(converted(tmp_path, other), noise(other)), timm_features(theirs, noise(other))) < 1e-5


SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 40, "patch_size": 8}
WIDE = {**SMALL, "intermediate_size": 96}
TEXT = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXT |= {"max_position_embeddings": 8, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
T = transformers


def _two_towers(config, text, vision):
    return config(vision_config=vision(**WIDE).to_dict(), text_config=text(**TEXT).to_dict())


# Name → function that makes the model, function that returns its features for pixels (n, 3, height, width).
TRANSFORMERS = {
    "vit": (lambda: T.ViTForImageClassification(T.ViTConfig(**WIDE)), None),
    "vit without prefix": (
        lambda: T.ViTModel(T.ViTConfig(**WIDE)),
        lambda m, x, **k: m(x, **k).last_hidden_state[:, 0],
    ),
    "deit": (lambda: T.DeiTForImageClassification(T.DeiTConfig(**WIDE)), None),
    "deit with teacher": (
        lambda: T.DeiTForImageClassificationWithTeacher(T.DeiTConfig(**WIDE)),
        lambda m, x, **k: m.deit(x, **k).last_hidden_state[:, :2].mean(1),
    ),
    "dinov2": (lambda: T.Dinov2ForImageClassification(T.Dinov2Config(**SMALL)), None),
    "dinov2 SwiGLU": (lambda: T.Dinov2Model(T.Dinov2Config(**SMALL, use_swiglu_ffn=True)), "pooler_output"),
    "dinov2 registers": (lambda: T.Dinov2WithRegistersModel(T.Dinov2WithRegistersConfig(**SMALL)), "pooler_output"),
    "dinov3": (lambda: T.DINOv3ViTModel(T.DINOv3ViTConfig(**WIDE, num_register_tokens=4)), "pooler_output"),
    "dinov3 gated": (
        lambda: T.DINOv3ViTModel(T.DINOv3ViTConfig(**WIDE, use_gated_mlp=True, hidden_act="silu", key_bias=True)),
        "pooler_output",
    ),
    "clip": (
        lambda: T.CLIPModel(_two_towers(T.CLIPConfig, T.CLIPTextConfig, T.CLIPVisionConfig)),
        lambda m, x, **k: m.vision_model(x, **k).pooler_output,
    ),
    "clip tower": (lambda: T.CLIPVisionModel(T.CLIPVisionConfig(**WIDE)), "pooler_output"),
    "clip classifier": (
        lambda: T.CLIPForImageClassification(_two_towers(T.CLIPConfig, T.CLIPTextConfig, T.CLIPVisionConfig)),
        None,
    ),
    "metaclip 2 tower": (lambda: T.MetaClip2VisionModel(T.MetaClip2VisionConfig(**WIDE)), "pooler_output"),
    "chinese clip tower": (lambda: T.ChineseCLIPVisionModel(T.ChineseCLIPVisionConfig(**WIDE)), "pooler_output"),
    "blip tower": (
        lambda: T.BlipVisionModel(T.BlipVisionConfig(**WIDE)),
        lambda m, x, **k: m(x, **k).last_hidden_state[:, 0],
    ),
    "siglip": (
        lambda: T.SiglipModel(_two_towers(T.SiglipConfig, T.SiglipTextConfig, T.SiglipVisionConfig)),
        lambda m, x, **k: m.vision_model(x, **k).pooler_output,
    ),
    "beit": (lambda: T.BeitForImageClassification(T.BeitConfig(**WIDE, use_relative_position_bias=True)), None),
    "beit with one table": (
        lambda: T.BeitModel(T.BeitConfig(**WIDE, use_shared_relative_position_bias=True)),
        "pooler_output",
    ),
    "beit without a mean": (lambda: T.BeitModel(T.BeitConfig(**WIDE, use_mean_pooling=False)), "pooler_output"),
    "data2vec": (
        lambda: T.Data2VecVisionForImageClassification(T.Data2VecVisionConfig(**WIDE, use_relative_position_bias=True)),
        None,
    ),
    "mae": (
        lambda: T.ViTMAEForPreTraining(
            T.ViTMAEConfig(
                **WIDE,
                mask_ratio=0.0,
                decoder_hidden_size=16,
                decoder_num_attention_heads=2,
                decoder_num_hidden_layers=1,
                decoder_intermediate_size=16,
            )
        ),
        lambda m, x, **k: m.vit(x, **k).last_hidden_state[:, 0],
    ),
    "msn": (lambda: T.ViTMSNForImageClassification(T.ViTMSNConfig(**WIDE)), None),
    "ijepa": (lambda: T.IJepaForImageClassification(T.IJepaConfig(**WIDE)), None),
    "siglip classifier": (
        lambda: T.SiglipForImageClassification(_two_towers(T.SiglipConfig, T.SiglipTextConfig, T.SiglipVisionConfig)),
        None,
    ),
}
_ANY_SIZE = ("dinov2", "dinov3", "beit", "data2vec")  # these need no word to interpolate


@pytest.mark.parametrize("name", _some(TRANSFORMERS, ("dinov2 registers", "siglip")))
def test_transformers(name, tmp_path):
    make, features_of = TRANSFORMERS[name]
    theirs = transformers_folder(tmp_path, make())
    for size in ((40, 40), (64, 48)):
        options = {} if size == (40, 40) or name.startswith(_ANY_SIZE) else {"interpolate_pos_encoding": True}
        ours = converted(tmp_path, size)
        images = noise(size)
        assert relative(computed(ours, images), _theirs(theirs, features_of, nchw(images), options)) < 1e-5
    check_every_weight_matters(ours, images[:1])
    check_its_file_is_taken(ours)


def _theirs(model, features_of, pixels, options):
    seen = []
    if features_of is None:  # what the classifier reads
        handle = model.classifier.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        if callable(features_of):
            return features_of(model, pixels, **options).numpy()
        out = model(pixels, **options)
    if features_of is None:
        handle.remove()
        return seen[0].numpy()
    return getattr(out, features_of).numpy()


def test_siglip2_of_any_resolution(tmp_path):
    config = T.Siglip2VisionConfig(**{k: v for k, v in WIDE.items() if k != "image_size"}, num_patches=25)
    theirs = transformers_folder(tmp_path, T.Siglip2VisionModel(config))
    images, grid, patch = noise((64, 48)), (8, 6), 8
    pixels = torch.tensor(images).reshape(2, grid[0], patch, grid[1], patch, 3).permute(0, 1, 3, 2, 4, 5)
    mask = torch.ones(2, grid[0] * grid[1], dtype=torch.long)
    with torch.no_grad():
        out = theirs(pixels.reshape(2, grid[0] * grid[1], -1), mask, torch.tensor([grid, grid]))
    assert relative(computed(converted(tmp_path, (64, 48)), images), out.pooler_output.numpy()) < 1e-5


def test_a_model_of_timm_that_transformers_wraps(tmp_path):
    config = T.TimmWrapperConfig(
        architecture="vit_small_patch16_224", num_labels=5, model_args={"img_size": 32, **TINY}
    )
    theirs = transformers_folder(tmp_path, T.TimmWrapperForImageClassification(config)).timm_model
    images = noise((32, 32))
    assert relative(computed(converted(tmp_path, (32, 32)), images), timm_features(theirs, images)) < 1e-5


def test_a_wrapped_model_of_timm(tmp_path):
    import json

    theirs = timm_folder(tmp_path, "vit_small_patch16_224", img_size=32, **TINY)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "timm_wrapper"}))
    assert (
        relative(computed(converted(tmp_path, (32, 32)), noise((32, 32))), timm_features(theirs, noise((32, 32))))
        < 1e-5
    )


def test_every_architecture_that_timm_registers_has_the_heads_and_activation_that_are_assumed():
    """What a checkpoint's tensors do not tell comes from the architecture's name."""
    from keras_transfer.models.checkpoints.families import eva, vit
    from keras_transfer.models.checkpoints.record import Facts
    from tests.checkpoints.references import timm

    wrong = []
    for name in (
        timm.list_models(module="vision_transformer") + timm.list_models(module="deit") + timm.list_models(module="eva")
    ):
        family = next((f for f in (vit.FAMILY, eva.FAMILY) if f.knows(Facts("timm", name, {}))), None)
        if family is None:
            continue
        with torch.device("meta"):
            theirs = timm.create_model(name, pretrained=False, depth=1)
        style = (
            vit.style_of_name(name, theirs.embed_dim)
            if family is vit.FAMILY
            else eva.style_of_name(name, theirs.embed_dim)
        )
        first = theirs.blocks[0]
        kinds = {"GELU": "gelu", "GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu", "SiLU": "silu"}
        activation = (
            ""
            if "Glu" in type(first.mlp).__name__ or "GLU" in type(first.mlp).__name__
            else kinds[type(first.mlp.act).__name__]
        )
        expected = (first.attn.num_heads, first.norm1.eps, activation or style.activation)
        if (style.heads, style.epsilon, style.activation) != expected:
            wrong.append((name, style, expected))
    assert wrong == []
