"""`python -m f2fcam`."""

from f2fcam.cli import main

if __name__ == "__main__":
    main()
