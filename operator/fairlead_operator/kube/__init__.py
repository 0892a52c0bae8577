"""The edge to the API server: thin, and the only place that speaks HTTP to it."""
