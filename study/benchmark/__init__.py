"""Measure how fast this machine trains, next to its limit and the usual loop."""
