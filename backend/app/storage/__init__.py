"""Where audio and voice models are kept: one interface, with folders of the data folder behind it."""
