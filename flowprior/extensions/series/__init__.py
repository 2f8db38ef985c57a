"""Forecasts of series: weather as data, how often intervals cover the truth, and figures of fans."""
