"""The batch APIs as a server: one file per resource."""
