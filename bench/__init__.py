"""Benchmarks, one file a question: ``python -m bench dense``, ``rows``, ``wide``, ..."""
