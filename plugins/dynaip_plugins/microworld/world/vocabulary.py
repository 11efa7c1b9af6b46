"""The words of microworld: every attribute, its values, and which of them a prompt may say."""

from __future__ import annotations

COLOURS: tuple[str, ...] = ("red", "yellow", "green", "cyan", "blue", "pink")

IDENTITY: dict[str, tuple[str, ...]] = {
    "main": COLOURS,
    "second": COLOURS,
    "texture": ("rim", "stripes", "halves", "checks"),
    "emblem": ("disc", "ring", "cross", "bar"),
    "variant": ("first", "second", "third"),
}
"""Never said in personalisation prompts: only a reference can show it."""

BANDS: dict[str, tuple[str, ...]] = {
    "fine": ("main", "second", "texture"),
    "middle": ("emblem",),
    "coarse": ("variant",),
}
"""Identity by granularity: colours and texture, the mark, the form."""

PROMPTED: dict[str, tuple[str, ...]] = {
    "category": ("star", "heart", "drop", "house", "mug", "fish"),
    "background": ("meadow", "sea", "sand", "night", "snow", "clay"),
    "place": (
        "left",
        "right",
        "top",
        "bottom",
        "middle",
        "top left",
        "top right",
        "bottom left",
        "bottom right",
    ),
    "size": ("small", "large"),
}
"""Said in every prompt."""

UNPROMPTED: dict[str, tuple[str, ...]] = {
    "posture": ("upright", "tilted left", "tilted right"),
    "perspective": ("front", "side"),
    "illumination": ("from left", "from right", "from above"),
}
"""Never said: the concept-agnostic factors, free for the model to choose."""

DENSE: tuple[str, ...] = ("main", "second", "texture", "emblem")
"""Identity that dense prompts say; the form of a category has no word in any prompt."""

SAID: dict[str, tuple[str, ...]] = {**{name: IDENTITY[name] for name in DENSE}, **PROMPTED}
"""What dense prompts say; form, posture, perspective and illumination are never named."""

ATTRIBUTES: dict[str, tuple[str, ...]] = {**IDENTITY, **PROMPTED, **UNPROMPTED}
"""All attributes of one subject and its scene."""

FORMS: dict[str, tuple[str, str, str]] = {
    "star": ("fivefold", "fourfold", "sixfold"),
    "heart": ("whole", "pierced", "bitten"),
    "drop": ("round", "flat", "spindly"),
    "house": ("gabled", "smoking", "double"),
    "mug": ("righthanded", "lefthanded", "twohanded"),
    "fish": ("leftward", "rightward", "roundtailed"),
}
"""What a category's variants are called: words of captions, which nobody says in a prompt."""

COUNTS: tuple[str, ...] = ("1", "2", "3", "4")
"""How many subjects an image shows."""

FILLERS: tuple[str, ...] = ("a", "an", "the", "at", "in", "on", "with", "of", "and", "beside", "is")
"""Words that tokenizers drop, so that sentences read naturally and sequences stay short."""

MAX_TOKENS = 24
"""Constant length of a prompt in tokens, start and end tokens included."""


def words() -> list[str]:
    """Every content word that a prompt or caption can hold, sorted: the vocabulary of the tokenizers."""
    named = {word for values in SAID.values() for value in values for word in value.split()}
    return sorted(named | {word for forms in FORMS.values() for word in forms})
