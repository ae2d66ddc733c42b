"""Training steps: three engines for the same equations, and the choice of an engine."""
