"""Networks that no family knows: traced from timm or transformers, if installed, and built again from Keras's layers.

``network`` the library's own network with the checkpoint's weights · ``program`` its steps, with ``torch.export`` · ``value`` tensors whose
axes lie in another order · ``builder`` names, weights and tables · ``operations`` the counterpart of each operation · ``family`` all of it
as one more family of checkpoints, compared with the library's own features before it is used.
"""
