"""``python -m flowprior``."""

from flowprior.cli import main

if __name__ == "__main__":
    main()
