"""The front door: Client, and its thin synchronous facade."""
