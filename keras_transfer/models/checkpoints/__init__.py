"""Checkpoints of timm and Hugging Face transformers as Keras networks.

A checkpoint is a folder with ``config.json`` and ``model.safetensors`` (:mod:`.reference` finds or downloads it). :mod:`.tensors` reads the
weights, :mod:`.record` the facts beside them, and :mod:`.families` holds one builder for each kind of network, which :mod:`.convert` calls
and checks. Nothing here needs PyTorch, TensorFlow, timm, transformers or keras-hub.
"""
