"""Matchers that score every pair of cells, in torch: NC-Net, ANC-Net, nearest neighbours, and what they share."""
