"""The batch server: files, batches and real-time endpoints of OpenAI, Anthropic and Google in front of an upstream."""
