"""The experiments behind every claim: PROTOCOL.md says what and why, `python -m experiments` runs them."""
