"""The edge: clients' connections, from the first byte of a request to the last byte of its answer."""
