"""From records to metrics, tables and figures."""
