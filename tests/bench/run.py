"""The entry of the benchmark: `.venv/bin/python tests/bench/run.py [--quick] [--json FILE]`.

docs/performance.md says what is measured and how to read it.
"""

import importlib
import os
import sys

if __name__ == "__main__":
    # Run as a script, Python puts this directory first; the packages are found from the repository's root.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    raise SystemExit(importlib.import_module("tests.bench.main").main(sys.argv[1:]))
