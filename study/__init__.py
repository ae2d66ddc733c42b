"""What runs: studies, their trials, their results, and the command."""
