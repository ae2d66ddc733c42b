"""Interventions that replace single hidden units during training."""
