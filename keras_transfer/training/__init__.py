"""Training: phases, callbacks, resume and the whole run (:mod:`keras_transfer.training.train`)."""
