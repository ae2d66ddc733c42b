"""Penalties: interventions that change the gradient of each update."""
