"""A local web page and a JSON API for a trained model: ``keras-transfer serve RUN``.

``server`` starts it, ``app`` defines the routes, ``predictor`` and ``batcher`` run the model, ``images`` handles
uploads, ``corrections`` saves corrected labels, and ``guard`` rejects oversized and cross-site requests.
"""
