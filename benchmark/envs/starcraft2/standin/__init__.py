"""A stand-in for StarCraft II that speaks its protocol and plays the simulator's battles."""
