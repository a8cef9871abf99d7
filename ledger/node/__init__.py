"""The process of a node: a pure core, and the drivers around it. `loop` keeps their one order: persist, sign, send, apply."""
