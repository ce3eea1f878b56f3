"""Named models: configuration, loading and matching."""
