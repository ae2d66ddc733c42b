"""Training steps: four implementations of the same equations, and what chooses one."""
