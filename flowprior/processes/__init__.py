"""Processes that work together: which one this is, what they tell each other, and what can be sent."""
