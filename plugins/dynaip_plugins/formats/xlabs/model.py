"""XLabs v1 and v2."""

from __future__ import annotations

from ..plain import PlainFormat


class XLabsFormat(PlainFormat):
    """``double_blocks.{i}.processor.ip_adapter_double_stream_{k,v}_proj`` and ``ip_adapter_proj_model``."""

    name, what = "xlabs", "XLabs IP-Adapter"
    pairs = {
        "to_k": "double_blocks.{}.processor.ip_adapter_double_stream_k_proj",
        "to_v": "double_blocks.{}.processor.ip_adapter_double_stream_v_proj",
    }
    projection = "ip_adapter_proj_model"
