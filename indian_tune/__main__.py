"""Lets ``python -m indian_tune`` do what ``indian-tune`` does."""

from indian_tune.cli import main

if __name__ == "__main__":
    main()
