"""What should be done: pure functions from the spec and what was observed to a plan. No API, no clock, no I/O."""
