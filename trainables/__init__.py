"""Continual runs and their parts: settings, problems, steps, probes and records."""
