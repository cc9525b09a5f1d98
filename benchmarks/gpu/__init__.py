"""Speeds and memory on a CUDA device: `python -m benchmarks.gpu`, see __main__.py."""
