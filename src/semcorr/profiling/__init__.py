"""Time and memory of a pair."""
