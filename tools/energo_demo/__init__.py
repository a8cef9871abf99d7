"""A street of real processes: simulated meters and devices, started, fed and audited."""
