"""Verified, resumable downloads of the public data sets."""
