"""Load, save and check the results of a study."""
