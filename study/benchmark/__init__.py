"""Measure how fast this machine trains, and compare with a usual PyTorch loop."""
