"""Models: pretrained backbones, the classifier built on one, freezing, precision and the model file.

Importing this package imports neither Keras nor a framework; some of its modules do.
"""
