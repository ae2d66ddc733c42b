"""Resets: interventions that change the weights before each task but the first."""
