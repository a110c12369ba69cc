"""Training: what Comity's own models are made by."""
