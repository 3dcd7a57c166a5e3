"""Models that run a program: functional (every bit) and RTL (every cycle)."""
