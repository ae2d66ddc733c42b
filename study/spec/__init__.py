"""What a study is: settings, seeds and search spaces, as plain data."""
