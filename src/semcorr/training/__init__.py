"""Training: recipes, the loop, and fine-tuning."""
