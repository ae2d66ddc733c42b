"""Train networks on a stream of tasks without resets, and record the results."""
