"""Interventions that change whole layers of weights after updates."""
