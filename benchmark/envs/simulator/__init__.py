"""The embedded battle simulator: SMAC's and SMACv2's battles without StarCraft II."""
