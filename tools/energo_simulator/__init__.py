"""The deterministic world: many nodes' real cores over a fake disk, network and clock, from one seed; and the checks on it."""
