"""`python -m app.text`: the same as `moksori normalize`."""

import argparse
import sys

from app.text.cli import normalize_lines

parser = argparse.ArgumentParser(
    prog="python -m app.text", description="Print how written Korean lines are spoken."
)
parser.add_argument("--trace", action="store_true", help="print JSON lines with the trace of each reading")
sys.exit(normalize_lines(sys.stdin, sys.stdout, parser.parse_args().trace))
