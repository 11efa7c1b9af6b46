"""Policies whose weights are the same in every block and at every step: they differ by four numbers."""

from dynaip.registry import Component


def _policy(name: str, config: str, summary: str) -> Component:
    home = "dynaip_plugins.decoupling.constant"
    return Component("decoupling", name, f"{home}.model:ConstantPolicy", f"{home}.config:{config}", summary)


COMPONENTS = (
    _policy("coupled", "CoupledConfig", "both branches in training and at inference"),
    _policy("dynamic", "DynamicConfig", "both branches in training, the image branch at inference (the paper's DDS)"),
    _policy("image_only", "ImageOnlyConfig", "the image branch alone, always (the usual IP-Adapter)"),
    _policy("text_only", "TextOnlyConfig", "the text branch alone: what it carries"),
)
