"""What an inference engine is: its batch loop, its batch-time model and a mock of it behind an OpenAI server."""
