"""Training objectives: losses, the proxy model, and the modules that compute them."""
