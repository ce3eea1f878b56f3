"""Data sets of pairs: load, draw, download and check them."""
