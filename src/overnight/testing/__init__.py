"""Shipped for tests: conformance suites, fakes and fault scenarios."""
