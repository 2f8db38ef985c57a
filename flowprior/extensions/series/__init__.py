"""The extension for forecasts of series: weather data, the coverage of intervals, and fan charts."""
