"""Load the Parquet files of a study as data frames and runs."""
