"""Where audio and voice models are kept: one interface, a store for each profile behind it."""
