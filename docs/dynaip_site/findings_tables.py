"""Which tables the page of findings has: arms as the ablations in ``dynaip/recipes/microworld`` call them."""

from __future__ import annotations

from .findings import Gaps, Means

ALL = ("single", "multi2", "multi3", "multi4")
NOTHING = {"no reference (chance)": "base"}
FUSIONS = {
    "experts over low, mid, high": "hmoe",
    "the three concatenated": "concat",
    "their average": "average",
    "a resampler over them": "resampler",
    "high alone": "single_layer_high",
    "mid alone": "single_layer_mid",
    "low alone": "single_layer_low",
}
POLICIES = {
    f"{said}, {policy.replace('_', ' ')}": f"pairs_{pairs}-{policy}"
    for said, pairs in (("two pictures", "cross"), ("one picture twice", "self"))
    for policy in ("dynamic", "coupled", "image_only", "text_only")
}
CONTROLS = {
    "labels": "labels",
    "labels and context, both branches kept (`coupled`)": "labels_context_both",
    "the same, text branch closed at inference (`dynamic`)": "labels_context_image",
    "labels and context, image branch alone (`image_only`)": "labels_context_never",
}
TOWERS = {
    "CLIP, layers 5, 8, 12": "clip",
    "CLIP, layers 2, 4, 6": "clip_shallow",
    "CLIP, layers 8, 10, 12": "clip_deep",
    "DINOv2, trained on pictures alone": "dino",
    "DINOv2 low and mid, CLIP high": "two_towers",
}
ROUTERS = {"a mixture for every token": "hmoe", "one for the picture": "hmoe_image", "from the prompt": "hmoe_prompt"}
STEERED = {
    "as in the paper": "hmoe",
    "with coefficients drawn at random": "hmoe_0.3",
    "and a router kept undecided": "hmoe_0.3_0.01_3",
}


def _policies(pairs: str) -> list[tuple[str, str, str]]:
    """Dynamic against each other policy, for adapters trained on one kind of pairs."""
    return [
        (f"dynamic − {other.replace('_', ' ')}", f"pairs_{pairs}-dynamic", f"pairs_{pairs}-{other}")
        for other in ("coupled", "image_only", "text_only")
    ]


BANDS = ("CP", "fine", "emblem", "form")
TABLES: dict[str, Means | Gaps] = {
    "fusion": Means("fusion", FUSIONS | NOTHING, (*BANDS, "PF", "outline")),
    "fusion-differences": Gaps(
        "fusion",
        [(f"experts − {said}", "hmoe", arm) for said, arm in FUSIONS.items() if arm != "hmoe"],
        BANDS,
    ),
    "decoupling": Means("decoupling", POLICIES | NOTHING, ("CP", "emblem", "leak", "PF"), ALL),
    "copies-differences": Gaps("decoupling", _policies("self"), ("CP", "emblem", "leak"), ALL),
    "pairs-differences": Gaps("decoupling", _policies("cross"), ("CP", "emblem", "leak")),
    "controls": Means("controls", CONTROLS | NOTHING, ("CP", "fine", "emblem", "form", "leak", "PF")),
    "controls-differences": Gaps(
        "controls",
        [
            ("text branch closed − kept", "labels_context_image", "labels_context_both"),
            ("text branch closed − never had", "labels_context_image", "labels_context_never"),
        ],
        ("leak", "CP", "main colour", "emblem"),
    ),
    "steering": Means("steering", STEERED, BANDS),
    "sweep": Gaps(
        "sweep",
        [(said, f"{arm}: low × 4", f"{arm}: high × 4") for said, arm in STEERED.items()],
        ("CP", "fine", "texture", "emblem", "form"),
        ("single",),
    ),
    "sweep-of-labels": Gaps(
        "sweep-of-labels",
        [
            ("fine × 4 − middle × 4", "labels: fine × 4", "labels: middle × 4"),
            ("fine alone − middle alone", "labels: fine alone", "labels: middle alone"),
        ],
        ("CP", "fine", "emblem"),
        ("single",),
    ),
    "routers": Means("routers", ROUTERS | NOTHING, (*BANDS, "PF")),
    "routers-differences": Gaps(
        "routers",
        [(f"{said} − for every token", arm, "hmoe") for said, arm in ROUTERS.items() if arm != "hmoe"],
        BANDS,
    ),
    "encoders": Means("encoders", TOWERS | NOTHING, ("CP", "main colour", "second colour", "texture", "emblem", "form")),
    "encoders-differences": Gaps(
        "encoders",
        [(f"{said} − CLIP, layers 5, 8, 12", arm, "clip") for said, arm in TOWERS.items() if arm != "clip"],
        ("CP", "second colour", "emblem"),
    ),
}  # fmt: skip
