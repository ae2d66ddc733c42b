"""Plan the trials for the unfinished runs of a study, and estimate their cost."""
