"""Workloads, and later the fleet simulator, over the same decision code that runs in production."""
