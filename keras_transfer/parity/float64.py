"""A copy of a model that computes in float64.

In float32 two correct backends give different gradients: a ReLU unit whose input is within rounding of zero is active
on one and not on the other, and passes its whole gradient or none. In float64 no unit is that close to zero, so a
remaining difference is real.
"""

from __future__ import annotations

import json
from typing import Any

_BATCH_NORM = "Float64BatchNormalization"


def float64_copy(model: Any) -> Any:
    """Return a copy of ``model`` that computes in float64 throughout, with BatchNorm in inference mode.

    On jax the process must have been started with ``JAX_ENABLE_X64=1``.
    """
    import keras

    from keras_transfer.models.freeze import freeze_batch_norm

    class Float64BatchNormalization(keras.layers.BatchNormalization):
        """BatchNorm in inference mode; Keras's own computes in float32 even for float64 input."""

        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            mean, variance = map(keras.ops.convert_to_tensor, (self.moving_mean, self.moving_variance))
            outputs = (inputs - mean) / keras.ops.sqrt(variance + self.epsilon)
            if self.scale:
                outputs = outputs * keras.ops.convert_to_tensor(self.gamma)
            return outputs + keras.ops.convert_to_tensor(self.beta) if self.center else outputs

    keras.config.set_floatx("float64")
    # Through JSON, since the serialized model shares lists with the live one.
    tree = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    copy = keras.saving.deserialize_keras_object(
        _rewritten(tree), custom_objects={_BATCH_NORM: Float64BatchNormalization}
    )
    # By name: the order of `weights` depends on what was trainable when a layer was built.
    values = {variable.path: variable for variable in model.weights}
    for variable in copy.weights:
        variable.assign(keras.ops.convert_to_numpy(values[variable.path]))
    copy.dtype_policy = keras.DTypePolicy("float64")
    freeze_batch_norm(copy)
    return copy


def _rewritten(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_rewritten(item) for item in tree]
    if not isinstance(tree, dict):
        return "float64" if tree == "float32" else tree
    if tree.get("class_name") == "BatchNormalization":
        tree = {**tree, "module": None, "class_name": _BATCH_NORM, "registered_name": _BATCH_NORM}
    return {key: _rewritten(value) for key, value in tree.items()}
