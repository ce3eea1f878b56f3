"""What training draws: pairs, views and pseudo-labels."""
