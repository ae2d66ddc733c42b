"""Searches: Optuna proposes the settings."""
