"""Spec files: YAML in, typed spec or one clear error line out."""
