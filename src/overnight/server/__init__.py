"""The batch server: OpenAI's files, batches and real-time endpoints in front of an upstream. One file per resource."""
