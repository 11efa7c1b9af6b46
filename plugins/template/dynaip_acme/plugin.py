"""What this package brings, as addresses: nothing named here is imported before it is used."""

from __future__ import annotations

from collections.abc import Iterable

from dynaip.registry import Component, hookimpl

REQUIRES_DYNAIP = ">=0.1,<0.2"


@hookimpl
def dynaip_components() -> Iterable[Component]:
    """List the components of this package."""
    config = "dynaip_acme.config"
    return [
        Component("fusion", "gated", "dynaip_acme.fusion:GatedFusion", f"{config}:GatedConfig", "one gate a level"),
        Component("encoder", "patches", "dynaip_acme.encoder:PatchEncoder", f"{config}:PatchConfig", "average colours"),
        Component(
            "decoupling", "faded", "dynaip_acme.decoupling:FadedPolicy", f"{config}:FadedConfig", "text fades out"
        ),
    ]
