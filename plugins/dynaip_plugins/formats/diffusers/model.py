"""diffusers' own layout of XLabs's adapter."""

from __future__ import annotations

from ..plain import PlainFormat


class DiffusersFormat(PlainFormat):
    """``image_proj`` and ``ip_adapter.{i}.to_{k,v}_ip``: what ``FluxPipeline.load_ip_adapter(folder, weight_name=…)`` reads."""

    name, what = "diffusers", "diffusers IP-Adapter"
    pairs = {"to_k": "ip_adapter.{}.to_k_ip", "to_v": "ip_adapter.{}.to_v_ip"}
    projection = "image_proj"
