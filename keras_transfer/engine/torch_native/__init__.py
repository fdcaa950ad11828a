"""Native torch operations behind stock Keras layers; imported only where Keras runs on torch."""
