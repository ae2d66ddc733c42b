"""Resets: interventions that change the weights before each task except the first."""
