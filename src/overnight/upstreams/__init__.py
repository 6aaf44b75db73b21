"""Real-time APIs, one request at a time."""
