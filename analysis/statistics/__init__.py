"""Compute the metrics of runs, confidence intervals and paired tests."""
