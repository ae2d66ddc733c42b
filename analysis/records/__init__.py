"""From Parquet files to data frames and runs."""
