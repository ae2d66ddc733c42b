"""Turn recorded results into metrics, tables and figures."""
