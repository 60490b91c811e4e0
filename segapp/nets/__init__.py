"""Networks as Keras functional models with named blocks."""
