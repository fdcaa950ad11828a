"""Random reference networks of timm and transformers, saved as checkpoints: for the tests of convolutional families."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.checkpoints.references import timm, torch, transformers

_BOTH = ((64, 96), (75, 64))
_NARROW = {"depths": (1, 2, 1, 1), "dims": (8, 16, 24, 32)}
_ONE_EACH = {"layers": (1, 1, 1, 1)}
_STAGES = {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 2, 1, 1]}
_RESNET = {"embedding_size": 16, **_STAGES}


@dataclass(frozen=True)
class Case:
    """A reference network: timm's name and arguments, or a class of transformers and those of its configuration.

    ``tolerance`` is relative to the largest feature: 1e-5 but where timm's own float32 differs from its float64 by more.
    """

    name: str
    args: dict[str, Any] = field(default_factory=dict)
    sizes: tuple[tuple[int, int], ...] = ((75, 64),)
    tolerance: float = 1e-5

    def __str__(self) -> str:
        """Return the name of the test."""
        return "-".join([self.name, *(f"{key}" for key in self.args if key not in ("depths", "dims", "layers"))])


CASES = [
    Case("test_convnext"),
    Case("test_convnext3"),
    Case("convnext_atto_ols", _NARROW),
    Case("convnext_atto_rms", _NARROW),
    Case("convnext_tiny_hnf", _NARROW),
    Case("convnext_large_mlp", {**_NARROW, "head_hidden_size": 40}),
    Case("convnextv2_nano", _NARROW, _BOTH),
    Case("convnextv2_tiny", {**_NARROW, "kernel_sizes": 5}),
    Case("test_resnet", sizes=_BOTH),
    Case("resnet10t"),
    Case("resnet50d", _ONE_EACH),
    Case("resnext50_32x4d", _ONE_EACH),
    Case("seresnet18", _ONE_EACH),
    Case("resnetrs50", _ONE_EACH),
    Case("regnetx_002"),
    Case("regnety_002"),
    Case("densenet121", {"block_config": (2, 2, 2), "growth_rate": 8}),
    Case("densenet264d", {"block_config": (2, 2), "growth_rate": 8}),
    Case("repvit_m0_9", {"depth": (2, 1, 1, 1)}),
    Case("repvit_m1", {"depth": (1, 1, 2, 1)}),
    Case("fastvit_t8", {"layers": (2, 1, 1, 1), "embed_dims": (8, 16, 32, 64)}),
    Case("fastvit_sa12", {"layers": (1, 1, 1, 2), "embed_dims": (16, 16, 32, 64)}),
    Case("fastvit_mci0", {"layers": (1, 1, 1, 1), "embed_dims": (16, 16, 32, 64)}),
    Case("resnetv2_18d", {"layers": (1, 1, 1, 1), "channels": (16, 24, 32, 40)}),
    Case("resnetv2_50", {"layers": (2, 1, 1, 1), "channels": (32, 64, 64, 96)}),
    Case("resnetv2_50x1_bit", {"layers": (2, 1, 1, 1), "channels": (128, 128, 128, 256)}),
    Case("xception41"),
    Case("xception41p", sizes=((64, 96),)),
    Case("hgnetv2_b0", sizes=((64, 96),)),
    Case("hgnetv2_b4"),
    Case("inception_v3", sizes=((96, 107),)),
    Case("vgg11", {"mlp_ratio": 1 / 64}),
    Case("vgg11_bn", {"mlp_ratio": 1 / 64}, sizes=((224, 256),)),
    Case("repvgg_a0"),
    Case("test_efficientnet", sizes=_BOTH),
    Case("efficientnet_b0"),
    Case("tf_efficientnetv2_b0", sizes=_BOTH),
    Case("efficientnet_lite0"),
    Case("mobilenetv1_100h"),
    Case("mobilenetv2_035"),
    Case("mobilenetv3_large_075"),
    Case("tf_mobilenetv3_small_075"),
    Case("mobilenetv4_conv_small_035"),
    Case("mobilenetv4_hybrid_medium_075", sizes=((64, 96),)),
    Case("lcnet_035"),
    Case("fbnetv3_b"),
    Case("ConvNextForImageClassification", _STAGES),
    Case("ConvNextV2ForImageClassification", _STAGES),
    Case("ConvNextV2Model", {**_STAGES, "layer_norm_eps": 1e-6, "patch_size": 2}),
    Case("DINOv3ConvNextModel", _STAGES),
    Case("ResNetForImageClassification", _RESNET),
    Case("ResNetModel", {**_RESNET, "layer_type": "basic", "downsample_in_first_stage": True}),
    Case("ResNetModel", {**_RESNET, "downsample_in_bottleneck": True}),
    Case("RegNetForImageClassification", {**_RESNET, "groups_width": 8}),
    Case("RegNetModel", {**_RESNET, "groups_width": 8, "layer_type": "x", "downsample_in_first_stage": False}),
    Case(
        "EfficientNetForImageClassification", {"width_coefficient": 0.25, "depth_coefficient": 1.0, "hidden_dim": 320}
    ),
    Case(
        "EfficientNetModel",
        {"width_coefficient": 0.25, "depth_coefficient": 0.6, "hidden_dim": 320, "depthwise_padding": [2]},
    ),
    Case("MobileNetV1ForImageClassification", {"depth_multiplier": 0.25}),
    Case("MobileNetV1Model", {"depth_multiplier": 0.25, "tf_padding": False}),
    Case("MobileNetV2ForImageClassification", {"depth_multiplier": 0.25}),
    Case("MobileNetV2Model", {"depth_multiplier": 0.25, "tf_padding": False, "first_layer_is_expansion": False}),
]
LARGE_CASES = [
    Case("mobileone_s0"),
    Case("mobileone_s4", sizes=((64, 96),)),
    Case("legacy_xception", sizes=((75, 96),)),
    Case("inception_v4", sizes=((96, 107),), tolerance=2e-4),
    Case("inception_resnet_v2", sizes=((128, 139),)),
    Case("fastvit_mci3", {"layers": (1, 1, 1, 1, 1), "embed_dims": (16, 16, 32, 64, 64)}),
    Case("fastvit_sa12"),
    Case("resnetv2_50t"),
    Case("xception71"),
    Case("fbnetv3_g"),
    Case("efficientnetv2_rw_t"),
    Case("tf_efficientnetv2_s"),
    Case("efficientnet_em"),
    Case("mobilenetv4_conv_medium"),
    Case("mobilenetv4_hybrid_large"),
    Case("densenet121"),
    Case("convnext_tiny"),
]
Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Reference:
    """A saved reference network.

    Attributes:
        folder: of the checkpoint.
        features: of images (batch, height, width, 3) as the network takes them: (batch, channels).
        logits: of its classifier; None: it has none.
        head: (weight, bias) of the classifier.
    """

    folder: Path
    features: Function
    logits: Function | None
    head: tuple[np.ndarray, np.ndarray] | None


def reference(case: Case, folder: Path) -> Reference:
    """Build a reference network with random weights and save it."""
    if case.name[0].islower():
        net = _randomised(_created(case))
        more = {"model_args": case.args} if case.name.endswith("_bit") else {}
        timm.models.save_for_hf(net, folder, safe_serialization=True, **more)
        return Reference(
            folder,
            _function(lambda x: net.forward_head(net.forward_features(x), pre_logits=True)),
            _function(net),
            None
            if case.name.startswith("repvit")
            else _head(net.get_classifier()),  # with norms before two classifiers
        )
    kind = getattr(transformers, case.name)
    net = _randomised(kind(kind.config_class(num_labels=7, **case.args)))
    net.save_pretrained(folder)
    base = net if case.name.endswith("Model") else net.base_model
    features = _function(lambda x: base(x).pooler_output.flatten(1))
    if base is net:
        return Reference(folder, features, None, None)
    classifier = net.classifier[1] if isinstance(net.classifier, torch.nn.Sequential) else net.classifier
    return Reference(folder, features, _function(lambda x: net(x).logits), _head(classifier))


def _created(case: Case) -> Any:
    if not case.name.endswith("_bit"):
        return timm.create_model(case.name, num_classes=7, **case.args)
    # timm lets nobody choose their depth, and a deep one with random weights amplifies rounding errors beyond the tolerance.
    kernels = functools.partial(timm.layers.StdConv2d, eps=1e-8)
    return timm.models.resnetv2._create_resnetv2(
        case.name, num_classes=7, stem_type="fixed", conv_layer=kernels, **case.args
    )


def pictures(size: tuple[int, int], count: int = 2) -> np.ndarray:
    """Return pictures that differ in colour and shape, and not in their noise alone: float32 (count, height, width, 3)."""
    rng = np.random.default_rng(0)
    coarse = rng.standard_normal((count, 3, 3, 3)) + rng.standard_normal((count, 1, 1, 3))
    rows, columns = (np.arange(side) * 3 // side for side in size)
    return (coarse[:, rows][:, :, columns] + 0.3 * rng.standard_normal((count, *size, 3))).astype(np.float32)


def _head(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def _function(call: Callable[[Any], Any]) -> Function:
    def compute(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return call(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()

    return compute


def _randomised(net: Any) -> Any:
    """Give every parameter and statistic a random value, such that activations neither vanish nor grow.

    The statistics of BatchNorm are those of noise pictures, and then changed: a deep network with any others amplifies rounding errors
    (timm's float32 then differs from its own float64 by more than the tolerance).
    """
    generator = torch.Generator().manual_seed(0)

    def noise(like: Any, low: float, high: float) -> Any:
        return low + (high - low) * torch.rand(like.shape, generator=generator)

    for name, values in net.named_parameters():
        if values.ndim > 1 and values.numel() > max(values.shape):
            gate = any(part in name for part in (".se.", "squeeze_excite", "attention"))  # near one half
            scale = (3.0 / values[0].numel()) ** 0.5 * (0.3 if gate else 1.0)
            values.data = noise(values, -scale, scale)
        else:
            values.data = noise(values, -0.3, 0.3) if name.endswith("bias") else noise(values, 0.5, 0.9)
    norms = [module for module in net.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    if norms:
        for module in norms:
            module.momentum = 1.0
        with torch.no_grad():
            net.train()(torch.from_numpy(pictures((96, 96), 4)).permute(0, 3, 1, 2))
    for module in norms:
        module.running_mean += noise(module.running_mean, -0.1, 0.1) * module.running_var.sqrt()
        module.running_var *= noise(module.running_var, 0.8, 1.6)
    return net.eval()
