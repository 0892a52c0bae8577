"""The operator: an InferencePool's spec becomes a plan, the plan becomes pods (or, locally, processes)."""
