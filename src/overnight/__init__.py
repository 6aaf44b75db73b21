"""overnight: batch work with LLMs through batch APIs, at half price, losing no row and paying for none twice."""

__version__ = "0.1.0"
