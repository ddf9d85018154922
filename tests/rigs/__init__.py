"""One module a kind of destination: the world outside it, in memory or on loopback, for the contract that all of them pass."""
