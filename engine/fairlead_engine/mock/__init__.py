"""The mock engine: the batch loop in real time behind an OpenAI server with vLLM's surface."""
