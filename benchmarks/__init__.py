"""What the guardrail costs: load against a running service, as ratios within one run."""
