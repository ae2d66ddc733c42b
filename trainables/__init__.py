"""A continual run, and all that it is made of."""
