"""From measurements of a running engine to a batch-time profile."""
