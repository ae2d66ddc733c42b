"""Where results live: files, the store, claims, definitions and provenance."""
