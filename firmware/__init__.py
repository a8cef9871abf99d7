"""What touches the world: meters, panel, the devices of a home."""
