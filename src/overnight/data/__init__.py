"""The data plane: sources, templates, segments, shards, ledgers and the merge."""
