"""What belongs to one domain: each extension joins by its entry points, and nothing imports it."""
