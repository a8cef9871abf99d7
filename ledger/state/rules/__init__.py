"""One small module of rules per subject. Each changes the state by free functions and refuses with `Refused`."""
