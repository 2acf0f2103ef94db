"""`python -m foldrace` is the command `foldrace`."""

from foldrace.search.cli.main import main

if __name__ == "__main__":
    main()
