"""`python -m heald_worker` is the `heald` command."""

import sys

from heald_worker.cli import main

sys.exit(main())
