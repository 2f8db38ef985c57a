"""The operators and what else is around the network, timed beside their peers."""
