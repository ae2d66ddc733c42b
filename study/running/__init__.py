"""Running a study on Ray Tune."""
