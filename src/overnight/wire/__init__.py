"""PURE: the dialects of the providers, bytes to types and back, for clients and servers alike."""
