"""Run a study with Ray Tune."""
