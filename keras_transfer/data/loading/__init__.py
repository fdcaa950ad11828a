"""Batches of uint8 images: prepared by threads, served to Keras."""
