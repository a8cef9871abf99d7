"""Who may sign: the sole holder of a home's keys. It takes typed intents, builds the bytes itself, and has no network."""
