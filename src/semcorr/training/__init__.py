"""Training of scoring functions through the proxy model."""
