"""The home's agent: drives battery, car and the pool it keeps, and trades stored energy, by rules the household sees."""
