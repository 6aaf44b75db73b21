"""Batch APIs, one file each."""
