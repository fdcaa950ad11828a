"""A local page and a JSON endpoint for a trained model: ``keras-transfer serve RUN``.

``server`` starts it, ``app`` holds the addresses, ``predictor`` and ``batcher`` the model, ``images`` what is
uploaded, ``corrections`` what is saved, and ``guard`` turns away what is too large or comes from elsewhere.
"""
