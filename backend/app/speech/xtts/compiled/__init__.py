"""The runtime's inner loops in C, for processors with AVX-512: some of PyTorch's are far below what such a
processor can do. Where they cannot run, or there is no C compiler, PyTorch computes the same.
"""
