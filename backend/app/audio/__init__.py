"""Decoding, measuring, shaping and writing audio: pure functions on arrays.

Audio is float32, mono, shape (samples,), within -1..1, unless a docstring says otherwise.
"""
