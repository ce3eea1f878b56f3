"""Evaluation: a data set and a model in, predictions kept on disk, a report out."""
