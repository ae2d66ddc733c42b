"""Runs of control: networks that act, and learn from what follows."""
