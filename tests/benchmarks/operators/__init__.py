"""The benchmarks: their line, their rows and what they print, without looking at the times."""
