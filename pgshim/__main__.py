"""`python -m pgshim`."""

from pgshim.cli import main

if __name__ == "__main__":
    main()
