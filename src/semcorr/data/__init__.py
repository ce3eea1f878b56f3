"""Pair data sets: loading, drawing, downloading and checking. Import what is needed from the modules."""
