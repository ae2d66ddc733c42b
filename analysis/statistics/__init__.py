"""Metrics of a run, intervals and paired tests."""
