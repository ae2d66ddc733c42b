"""Figures: data first, then the drawing."""
