"""The asynchronous managers, from which ``statecache._sync`` is generated."""
