"""What CUDA needs and NumPy does not: kernels, matrix products with epilogues."""
