"""Several processes on one port: a supervisor, workers that relay, and the decider that they ask."""
