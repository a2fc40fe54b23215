"""gpugrad and its peers, timed side by side on the same work: ``python -m benchmarks --help``.

Importing this package imports no array library: thread counts must be in the environment before NumPy is loaded.
"""
