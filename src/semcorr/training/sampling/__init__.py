"""What a training step sees: views of photographs, samplers, and the features that are computed once."""
