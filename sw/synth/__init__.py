"""``cdmqta synth``: area, timing and power of the hardware in cells of a library."""
