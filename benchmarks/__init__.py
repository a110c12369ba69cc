"""What the guardrail costs: load on a running service, its backend and a peer, compared within one run."""
