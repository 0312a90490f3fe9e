"""espeak-ng speech reshaped toward an actor with the WORLD vocoder."""
