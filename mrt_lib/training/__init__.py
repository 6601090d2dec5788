"""Training: settings, the loop of all arms, losses and updates, adapters, and whether a run fits."""
