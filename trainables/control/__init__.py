"""Runs of control: networks learn from rewards and from their own estimates."""
