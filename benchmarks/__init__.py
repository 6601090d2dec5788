"""Speed, measured as ratios on the same work in one run."""
