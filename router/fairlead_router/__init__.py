"""The router: places each request on one engine of its pool, relays the stream and measures TTFT and TBT."""
