"""Arrays to pictures; knows neither flow nor result."""

from flowprior.pictures.pictures import *  # noqa: F403
