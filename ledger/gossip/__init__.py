"""How neighbors keep up: frames on a link, transactions that flood, and catching up by ranges of blocks. Pure."""
