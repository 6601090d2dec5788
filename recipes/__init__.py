"""How the shipped reasoners and their tasks are made, and what this project compares its library with."""
