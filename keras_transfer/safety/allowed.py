"""The allowlist of classes and functions that a model file may name; everything else is refused.

It holds the layers of image classifiers and their parts. Deliberately missing, since they run code, read files or do
not occur in such models: Lambda, TFSMLayer, TorchModuleWrapper, JaxLayer, FlaxLayer, lookup and text layers,
Pipeline, recurrent layers and wrappers.
"""

from __future__ import annotations

_LAYERS_2D = """
    Conv2D Conv2DTranspose DepthwiseConv2D SeparableConv2D
    AveragePooling2D MaxPooling2D GlobalAveragePooling2D GlobalMaxPooling2D AdaptiveAveragePooling2D AdaptiveMaxPooling2D
    Cropping2D ZeroPadding2D UpSampling2D SpatialDropout2D
"""
_LAYERS = """
    InputLayer Dense EinsumDense Activation ReLU LeakyReLU PReLU ELU Softmax Identity
    BatchNormalization LayerNormalization GroupNormalization RMSNormalization UnitNormalization Normalization
    Dropout AlphaDropout GaussianDropout GaussianNoise ActivityRegularization
    Add Average Concatenate Dot Maximum Minimum Multiply Subtract
    Flatten Permute Reshape RepeatVector Rescaling Resizing CenterCrop
    GlobalAveragePooling1D GlobalMaxPooling1D Attention MultiHeadAttention
    RandomBrightness RandomContrast RandomCrop RandomFlip RandomRotation RandomTranslation RandomZoom
"""
_INITIALIZERS = """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform Ones OrthogonalInitializer
    RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
"""
_NUMPY_OPERATIONS = """
    Absolute Add Clip Concatenate Divide Exp ExpandDims Flip GetItem Matmul Maximum Mean Minimum Multiply Negative Power
    Repeat Reshape Roll Sqrt Square Squeeze Stack Subtract Sum Transpose TrueDivide
"""
_NN_OPERATIONS = (
    "DotProductAttention Elu Gelu HardSigmoid HardSilu LeakyRelu Relu Relu6 Sigmoid Silu Softmax Softplus Tanh"
)

ALLOWED: dict[str, frozenset[str]] = {
    module: frozenset(names.split())
    for module, names in {
        "keras": "Model Sequential DTypePolicy",
        "keras.layers": _LAYERS + _LAYERS_2D,
        "keras.initializers": _INITIALIZERS,
        "keras.regularizers": "L1 L2 L1L2 OrthogonalRegularizer",
        "keras.constraints": "MaxNorm MinMaxNorm NonNeg UnitNorm",
        "keras.models": "Model Sequential",
        "keras.src.models.functional": "Functional",
        "keras.src.models.sequential": "Sequential",
        "keras.src.ops.numpy": _NUMPY_OPERATIONS,
        "keras.src.ops.nn": _NN_OPERATIONS,
        # Layers of keras.applications without a public name.
        "keras.src.applications.convnext": "LayerScale",
        "keras.src.applications.inception_resnet_v2": "CustomScaleLayer",
        # Layers of keras-hub's image backbones.
        "keras_hub.src.models.efficientnet.cba": "CBABlock",
        "keras_hub.src.models.efficientnet.fusedmbconv": "FusedMBConvBlock",
        "keras_hub.src.models.efficientnet.mbconv": "MBConvBlock",
        "keras_hub.src.models.hgnetv2.hgnetv2_encoder": "HGNetV2Encoder",
        "keras_hub.src.models.hgnetv2.hgnetv2_layers": "HGNetV2BasicLayer HGNetV2ConvLayer HGNetV2ConvLayerLight"
        " HGNetV2Embeddings HGNetV2LearnableAffineBlock HGNetV2Stage",
        "keras_hub.src.models.mit.mit_layers": "DropPath HierarchicalTransformerEncoder MixFFN"
        " OverlappingPatchingAndEmbedding SegFormerMultiheadAttention",
        "keras_hub.src.models.mobilenet.mobilenet_backbone": "ConvBnActBlock DepthwiseConvBlock InvertedResidualBlock"
        " SqueezeAndExcite2D",
        "keras_hub.src.models.mobilenetv5.mobilenetv5_attention": "Attention2d MobileAttention MultiQueryAttention2d",
        "keras_hub.src.models.mobilenetv5.mobilenetv5_blocks": "CondConvResidual EdgeResidual UniversalInvertedResidual"
        " MobileNetV5MultiScaleFusionAdapter",
        "keras_hub.src.models.mobilenetv5.mobilenetv5_layers": "ConvNormAct DropPath LayerScale2d RmsNorm2d SEModule",
        "keras_hub.src.models.mobilenetv5.mobilenetv5_utils": "SelectAdaptivePool2d",
        # Backbones of keras-hub that are saved as one object.
        "keras_hub.src.models.deit.deit_backbone": "DeiTBackbone",
        "keras_hub.src.models.dinov2.dinov2_backbone": "DINOV2Backbone",
        "keras_hub.src.models.swin_transformer.swin_transformer_backbone": "SwinTransformerBackbone",
        "keras_hub.src.models.vit.vit_backbone": "ViTBackbone",
    }.items()
}
"""Module → classes that a config.json may name."""

REGISTERED = frozenset(
    f"keras_hub>{name}" for module, names in ALLOWED.items() if module.endswith("_backbone") for name in names
)
"""Registered names of keras-hub's backbones, which Keras writes in addition to module and class."""

_ACTIVATIONS = """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish leaky_relu linear log_sigmoid
    log_softmax mish relu relu6 selu sigmoid silu softmax softplus softsign swish tanh
"""
FUNCTIONS = frozenset(_ACTIVATIONS.split())
"""Activation functions, the only functions allowed."""

FUNCTION_MODULES = ("builtins", "keras.activations")

VALUES = frozenset(["__keras_tensor__", "__ellipsis__", "__slice__"])
"""Plain values that Keras writes like classes. Not allowed: __lambda__ (code) and __tensor__ (of unlimited size)."""
