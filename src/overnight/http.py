"""The HTTP transport: the only file that knows the HTTP library."""
