"""Prices per token, offline, with their source named."""
