"""Qwen-Image and its edit models."""

from dynaip.registry import Component

COMPONENT = Component(
    "backbone",
    "qwen_image",
    "dynaip_plugins.backbones.qwen_image.model:QwenImageBackbone",
    "dynaip_plugins.backbones.qwen_image.config:QwenImageConfig",
    "Qwen-Image: double-stream blocks, prompts by Qwen2.5-VL",
)
