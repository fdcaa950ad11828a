"""The second day of a model: pictures that come back with a label, classes that come later, and whether the new model is better.

``additions`` reads pictures with labels, ``revision`` joins them with the data of a run, ``retrain`` and ``classes`` make a new run of
that, and ``regression`` compares both runs on pictures that neither was trained on. The old run is never written to.
"""
