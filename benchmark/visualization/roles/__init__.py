"""The roles of trained policies in battle, in pictures and numbers."""
