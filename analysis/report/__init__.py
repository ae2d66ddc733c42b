"""The report: one page with everything."""
