"""Where the reference enters each branch, which of its patches are looked at, and whether those are the subject's."""

from dynaip.registry import Component

COMPONENT = Component(
    "report_section",
    "attention",
    "dynaip_analysis.attention.section:AttentionSection",
    "dynaip_analysis.attention.config:AttentionConfig",
    "Where the reference enters each branch, and which of its patches are looked at",
)
