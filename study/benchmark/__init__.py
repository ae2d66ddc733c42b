"""How fast this machine trains, beside its limit and the usual loop."""
