"""Blobs and Journal on files."""
