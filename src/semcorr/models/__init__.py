"""Named models: how each is built, loaded and run."""
