"""Identity: who sends a request, by its API key, and what that key allows."""
