"""The rules of money: a pure `apply_block(parent, block)`. Read transition.py first."""
