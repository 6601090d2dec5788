"""Subset sum, and the reasoner that goes back: its text, training, checks, warm starts and arm."""
