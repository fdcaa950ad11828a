"""Making it fast without changing a result.

    native   torch's own kernels behind the layers of a built Keras model (torch backend; elsewhere a no-op)
    memory   keep freed memory in the process (CPU)

Importing this package imports neither Keras nor a framework.
"""
