"""docs/results.md from the committed JSON of the experiments, one file a section."""
