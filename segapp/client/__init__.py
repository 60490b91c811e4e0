"""The client of a TensorFlow Serving endpoint, over gRPC and REST."""
