"""The simulator held to recordings of the real game."""
