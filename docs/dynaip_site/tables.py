r"""Tables as GitHub and the site both read them: GitHub wants ``\|`` for a bar in the code of a cell, the site a bare one."""

from __future__ import annotations

import re

_ROW = re.compile(r"^\|.*$", re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")


def plain_bars(markdown: str) -> str:
    """The page with bars in the code of cells as the site reads them."""
    return _ROW.sub(lambda row: _CODE.sub(lambda code: code[0].replace("\\|", "|"), row[0]), markdown)
