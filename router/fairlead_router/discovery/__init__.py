"""Discovery: where the pool's engines are, and whether they take requests."""
