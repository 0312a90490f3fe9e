"""The GPT's step on a GPU: its kernels, the pass that launches them, and the cache in pages."""
