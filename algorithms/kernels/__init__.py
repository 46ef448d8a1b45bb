"""Compiled recurrences, one file each."""
