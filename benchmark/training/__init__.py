"""From a study file to recorded runs."""
