"""The progress of long work: its stages, shown in a terminal, a notebook or a log."""
