"""The report: one HTML page with all tables and figures of the studies."""
