"""Meter reader: what was generated and used, signed and never lost."""
