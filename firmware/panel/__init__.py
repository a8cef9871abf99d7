"""The homeowner's panel: two lines of sixteen characters."""
