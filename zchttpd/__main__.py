"""`python -m zchttpd` is `zchttpd`."""

import sys

from zchttpd.cli import main

if __name__ == "__main__":
    sys.exit(main())
