"""``python -m dynaip.cli``, for launchers such as ``accelerate launch -m dynaip.cli train``."""

from __future__ import annotations

import sys

from dynaip.cli.app import main

sys.exit(main())
