"""Races: settings that are clearly worse than another stop early (`--refine`)."""
