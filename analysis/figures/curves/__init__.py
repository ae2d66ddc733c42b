"""Figures of measurements by task, with a line per setting."""
