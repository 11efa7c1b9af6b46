"""A page to play with: ``dynaip ui``. The logic (studio, regions, looks) knows no browser; ``layout`` alone knows gradio."""

from __future__ import annotations

from dynaip.registry import Command

COMMAND = Command("ui", "dynaip_analysis.page.command:ui")
