"""Frozen settings: flag > environment > file > default, read once."""
