"""Doors for programs written for other speech services: their addresses and shapes, our voices and rules."""
