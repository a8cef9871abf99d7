"""The shared truth of a street: what everything is written in, the rules of money, who agrees, and the process that runs it."""
