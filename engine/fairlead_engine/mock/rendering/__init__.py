"""Response bodies in vLLM's shapes, one module per API."""
