"""Speed without a change of results.

    native    faster operations behind the layers of a built Keras model (torch; jax on a CPU)
    features  outputs of the frozen part of a model, computed once per phase
    memory    keep freed memory in the process (CPU)

Importing this package imports neither Keras nor a framework.
"""
