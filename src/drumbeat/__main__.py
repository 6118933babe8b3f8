"""`python -m drumbeat` is the command `drumbeat`."""

from drumbeat.cli import main

if __name__ == "__main__":
    main()
