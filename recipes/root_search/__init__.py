"""The reasoners for root search: explorers that demonstrate, training, checks."""
