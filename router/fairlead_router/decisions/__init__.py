"""Routing decisions: pure, with the clock and the random source passed in. Imports no edge."""
