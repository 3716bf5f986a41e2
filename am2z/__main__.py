"""``python -m am2z`` is the command ``am2z``."""

import sys

from am2z.cli import main

sys.exit(main())
