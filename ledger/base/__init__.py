"""What everything is written in: units, bounds, errors, canonical bytes, keys, intents and the genesis. Imports nothing of the ledger."""
