"""Extensions, one for each domain: they join by entry points, and nothing imports them."""
