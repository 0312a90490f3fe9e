"""Prints what the doctor finds in this installation; exits 0 when speech can be made here, else 1."""

import sys

from app.cli import app

if __name__ == "__main__":
    app(["doctor"], standalone_mode=True)
    sys.exit(0)
