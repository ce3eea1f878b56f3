"""The package's own network in ONNX Runtime, without torch: an image in, a `FeatureMap` of NumPy arrays out."""
