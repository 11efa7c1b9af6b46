"""What of an adapter is trained and saved: its parts, made from a config, and what they compute without a pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn

from dynaip.adapter.attention import ReferenceAttention
from dynaip.config import AdapterConfig, ComponentSpec, ExperimentConfig
from dynaip.contracts import Backbone, Branch, DecouplingPolicy, FeatureFusion, FusedReference, VisualEncoder
from dynaip.errors import ConfigError, InputError
from dynaip.images.fit import tell_losses
from dynaip.numeric import weight_from
from dynaip.promises import check_fused, check_levels, check_pixels
from dynaip.registry import registry
from dynaip.suggest import did_you_mean


@dataclass(frozen=True)
class Specs:
    """What an adapter is made of, as saved in its ``config.json``."""

    backbone: ComponentSpec
    encoder: ComponentSpec
    fusion: ComponentSpec
    decoupling: ComponentSpec
    adapter: AdapterConfig

    @classmethod
    def of(cls, config: ExperimentConfig) -> Specs:
        """Take an experiment's parts."""
        return cls(config.backbone, config.encoder, config.fusion, config.decoupling, config.adapter)


class Adapter(nn.Module):
    """Its weights are those of the fusion strategy and of K, V; base and encoder stay frozen.

    ``model`` is the backbone's signature: family, width, heads, numbers of blocks, width of the pooled prompt.
    """

    fusion: FeatureFusion
    attention: ReferenceAttention
    source: Path | None
    """The run folder that it was loaded from."""

    def __init__(
        self, specs: Specs, model: Mapping[str, Any], *, branches: Iterable[Branch] | None = None,
        encoder: VisualEncoder | None = None,
    ) -> None:  # fmt: skip
        """Make the parts; K, V serve ``branches``, by default those that the policy opens in training.

        ``encoder`` stands for the one that the specs name, such as one without weights.
        """
        super().__init__()
        self.specs = specs
        self.model_signature = dict(model)
        self.backbone: Backbone = registry().build(specs.backbone)
        # Behind a list the frozen encoder is no submodule: it is neither trained nor saved.
        self._encoder: list[VisualEncoder] = [(encoder or registry().build(specs.encoder)).eval().requires_grad_(False)]
        self.policy: DecouplingPolicy = registry().build(specs.decoupling)
        self.block_numbers = chosen_blocks(specs.adapter, model)
        self.fusion = registry().build(
            specs.fusion,
            widths=dict(self.encoder.widths),
            dim=specs.adapter.token_width,
            condition_dim=model.get("condition_width"),
        )
        self.attention = ReferenceAttention(
            len(self.block_numbers),
            token_width=specs.adapter.token_width,
            width=int(model["width"]),
            heads=int(model["heads"]),
            branches=self.policy.branches("training") if branches is None else branches,
            share_branches=specs.adapter.share_branches,
            bias=specs.adapter.bias,
            key_norm=specs.adapter.key_norm,
            key_norm_eps=specs.adapter.key_norm_eps,
        )
        self.source: Path | None = None

    @property
    def encoder(self) -> VisualEncoder:
        """The frozen visual encoder."""
        return self._encoder[0]

    @property
    def device(self) -> torch.device:
        """Where the fusion's weights are; references are encoded and fused there."""
        return next((parameter.device for parameter in self.fusion.parameters()), torch.device("cpu"))

    def trainable_parameters(self) -> list[nn.Parameter]:
        """List what training changes: the fusion, and K, V of the branches that the policy opens in training."""
        return [*self.fusion.parameters(), *self.attention.parameters_of(sorted(self.policy.branches("training")))]

    def set_policy(self, policy: str | Mapping[str, Any] | ComponentSpec | DecouplingPolicy) -> None:
        """Swap the decoupling policy of a trained adapter for good; ``references(decoupling=...)`` does it for once."""
        if isinstance(policy, DecouplingPolicy):
            self.policy = self._served(policy)
            return
        spec = policy if isinstance(policy, ComponentSpec) else ComponentSpec.parse("decoupling", policy)
        self.policy = self._served(registry().build(spec))
        self.specs = Specs(self.specs.backbone, self.specs.encoder, self.specs.fusion, spec, self.specs.adapter)

    @torch.no_grad()
    def features(self, images: Sequence[Image.Image], names: Sequence[str] = ()) -> dict[str, Tensor]:
        """Encode pictures into level features, each B x N x C_l, without gradient.

        Of those that are named it is told what the encoder does not see, or sees heavily enlarged.
        """
        device, dtype = home_of(self.encoder)
        who, pixels = f"encoder {self.specs.encoder.use}", self.encoder.preprocess(images)
        check_pixels(who, pixels, len(images))
        for image, name in zip(images, names, strict=False):
            tell_losses(image, name, self.encoder.fit, pixels.shape[-1])
        features = self.encoder(pixels.to(device, dtype))
        check_levels(who, self.encoder, features, len(images))
        return {level: values.to(self.device, torch.float32) for level, values in features.items()}

    def fuse(
        self,
        features: Mapping[str, Tensor],
        *,
        coefficients: Mapping[str, float] | None = None,
        condition: Tensor | None = None,
    ) -> FusedReference:
        """Fuse level features (each B x N x C_l) into reference tokens (B x M x D); ``coefficients`` are gamma_l."""
        condition = None if condition is None else condition.to(self.device, torch.float32)
        fused = self.fusion(features, coefficients=coefficients, condition=condition)
        count = len(next(iter(features.values())))
        check_fused(f"fusion {self.specs.fusion.use}", fused, count, self.specs.adapter.token_width)
        return fused

    def policy_of(self, given: Any) -> DecouplingPolicy:
        """The policy that a name, a spec or a policy means (None: the adapter's own); ``InputError`` if it is not served."""
        if given is None:
            return self.policy
        if isinstance(given, DecouplingPolicy):
            return self._served(given)
        spec = given if isinstance(given, ComponentSpec) else ComponentSpec.parse("decoupling", given)
        return self._served(registry().build(spec))

    def _served(self, policy: DecouplingPolicy) -> DecouplingPolicy:
        """Refuse a policy that opens a branch whose keys and values this adapter never trained."""
        for branch in sorted(policy.branches("inference")):
            if not self.attention.serves(branch):
                raise InputError(
                    f"decoupling: this adapter was trained without the {branch} branch and has no keys and values for it; "
                    "use a policy that leaves it closed"
                )
        return policy

    def coefficients_of(self, granularity: Any) -> dict[str, float]:
        """gamma_l of the levels that are named.

        Raises ``InputError`` for levels that the encoder does not have, for what is no number from 0 to 1000, and where no
        level is left.
        """
        names = list(self.encoder.levels)
        if not isinstance(granularity, Mapping):
            raise InputError(f"granularity: name levels ({', '.join(names)}), e.g. {{{names[0]!r}: 1.5}}")
        found: dict[str, float] = {}
        for level, value in cast("Mapping[Any, Any]", granularity).items():
            if level not in names:
                hint = did_you_mean(str(level), names)
                raise InputError(f"granularity: no level {level}; there are {', '.join(names)}.{hint}")
            found[level] = weight_from(value, f"granularity: {level}=")
        if not any(found.get(level, 1.0) for level in names):
            raise InputError(f"granularity: all of {', '.join(names)} are 0; give at least one level a value above 0")
        return found


def home_of(encoder: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where an encoder's pixels belong: device and type of its weights; the CPU and float32 if it has none."""
    weights = (weight for weight in chain(encoder.parameters(), encoder.buffers()) if weight.is_floating_point())
    first = next(weights, torch.empty(0))
    return first.device, first.dtype


def chosen_blocks(settings: AdapterConfig, model: Mapping[str, Any]) -> list[int]:
    """Numbers of the blocks that take part: double-stream ones by ``blocks``, then all single-stream ones if wanted."""
    double, single = int(model["double_blocks"]), int(model.get("single_blocks", 0))
    wanted = settings.blocks
    numbers = sorted(range(double)[_as_slice(wanted)]) if isinstance(wanted, str) else sorted(set(wanted))
    if not numbers or numbers[-1] >= double:
        raise ConfigError(f"adapter.blocks: {wanted} does not fit the {double} double-stream blocks 0 to {double - 1}")
    if settings.single_stream == "all_tokens" and settings.site == "residual":
        raise ConfigError("adapter.single_stream: all_tokens needs site attention; at site residual use image_tokens")
    if settings.single_stream != "off":
        numbers += list(range(double, double + single))
    return numbers


def _as_slice(text: str) -> slice:
    """Read ``all``, ``2:10`` or ``::2``."""
    parts = [int(part) if part else None for part in text.removeprefix("all").split(":")]
    if len(parts) == 3 and parts[2] == 0:
        raise ConfigError(f"adapter.blocks: the step of {text} must not be 0")
    return slice(*parts, *[None] * (3 - len(parts)))
