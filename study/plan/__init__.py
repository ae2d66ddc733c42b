"""What is left of a study to run, as trials, and what it costs."""
