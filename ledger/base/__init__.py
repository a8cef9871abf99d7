"""What everything is written in: units, bounds, errors, canonical bytes, keys, intents, the genesis."""
