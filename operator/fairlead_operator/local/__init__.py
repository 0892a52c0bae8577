"""The local backend: the same spec and the same plan, run as processes on this machine."""
