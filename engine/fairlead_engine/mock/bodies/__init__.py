"""Request bodies, as vLLM reads them: what is used is checked, unknown fields are accepted."""
