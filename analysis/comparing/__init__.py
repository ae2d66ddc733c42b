"""Compare settings with each other, and probes with accuracy."""
