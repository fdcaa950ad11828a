"""Speed without a change of results.

    native    faster operations behind the layers of a built Keras model (torch; jax on a CPU)
    features  outputs of the frozen part of a model, computed once per phase
    memory    keep freed memory in the process (CPU)

Importing this package imports neither Keras nor a framework.
"""

import sys

# Importing OpenVINO sends an event to its makers, from a process that it forks off a thread, unless the user has opted out. Without this
# package it sends nothing; so it is left out, as if it were not installed.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # Python's marker for "cannot be imported"
