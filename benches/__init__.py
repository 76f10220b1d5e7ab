"""Benchmarks: ``pytest --benchmark``. How they measure is in docs/performance.md."""
