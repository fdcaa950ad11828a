"""Making it fast without changing a result.

    native   faster operations behind the layers of a built Keras model (torch; jax on a CPU)
    memory   keep freed memory in the process (CPU)

Importing this package imports neither Keras nor a framework.
"""
