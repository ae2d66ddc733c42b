"""Plan the trials that run the unfinished runs of a study, and estimate their cost."""
