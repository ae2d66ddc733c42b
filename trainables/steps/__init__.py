"""Ways to compute a training step, and the code that chooses among them."""
