"""The display of results and values at a prompt, in a terminal and in a notebook: short lines and tables."""
