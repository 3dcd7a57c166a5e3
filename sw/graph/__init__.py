"""A training step as a graph, and the passes that make it products for the array."""
