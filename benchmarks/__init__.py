"""Benchmarks of quality, speed and reliability; README.md lists the commands."""
