"""Battles and roles as pictures."""
