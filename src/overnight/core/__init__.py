"""PURE: decisions from values. No await, clock, random, logging or I/O."""
