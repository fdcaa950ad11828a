"""Heads solved to the optimum on cached features, in float64 with NumPy and SciPy: no framework, no Keras, no random numbers."""
