"""Matchers: two feature maps in, scores of pairs of cells out; one file or folder per method."""
