"""Races: settings that are clearly worse than the best one stop early (`--refine`)."""
