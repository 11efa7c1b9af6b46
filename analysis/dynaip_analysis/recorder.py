"""Records attention, routing and features while a pipeline runs, exactly, within a byte budget, and without a trace.

Attention is computed again from the queries and keys that hooks hold: softmax per head first, then the running means
(ours). The run itself is untouched: nothing is replaced, no random number drawn, no tensor written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from PIL import Image
from torch import nn

from dynaip.adapter.injection import forget_compiled
from dynaip.adapter.words import places_of, tokens_of
from dynaip.contracts import Branch, ForwardPass, FusedReference
from dynaip.errors import InputError
from dynaip_analysis.budget import Plan, parse_bytes, told
from dynaip_analysis.joint import JointListener
from dynaip_analysis.joint_maps import JointKeeper, JointRequest
from dynaip_analysis.recording import Recording
from dynaip_analysis.reference_maps import AttentionRequest, Facts, ReferenceKeeper, reference_plan

__all__ = ["AttentionRequest", "JointRequest", "Recording", "estimate", "record"]

logger = logging.getLogger(__name__)


@contextmanager
def record(
    dyna: Any,
    *,
    attention: bool | AttentionRequest = True,
    joint: JointRequest | None = None,
    routing: bool = True,
    features: bool = False,
    prompts: Sequence[str] = (),
    budget: int | str = "512MB",
) -> Generator[Recording]:
    """Record around any call of the pipeline or training step; may be nested; gone on every exit.

    ``prompts`` (one a sample) name the text tokens, and are needed for ``JointRequest(words=...)``. At the first pass,
    before anything is computed, ``budget`` (bytes, or text such as ``"2GB"``) is held against what the run will need, half
    of it for each kind of attention if both are wanted: neighbouring steps are merged by their mean until it fits, and
    ``InputError`` says what a single step needs if that does not fit. ``recording.plans`` tells the estimate.
    """
    recording = Recording()
    if not isinstance(attention, (bool, AttentionRequest)):
        raise InputError(f"record: attention is True, False or AttentionRequest(...), not {type(attention).__name__}")
    request = AttentionRequest() if attention is True else attention or None
    session = _Session(dyna, recording, request, joint, parse_bytes(budget), list(prompts))
    with ExitStack() as stack:
        session.open(stack)
        if routing or features:
            keep = _fusion_keeper(recording, routing, features, parse_bytes(budget))
            stack.callback(dyna.fusion.register_forward_hook(keep).remove)
        yield recording
    session.finish()


def _fusion_keeper(recording: Recording, routing: bool, features: bool, budget: int) -> Callable[[Any, Any, Any], None]:
    left = budget

    def keep(fusion: Any, args: Any, fused: FusedReference) -> None:
        nonlocal left
        if routing:
            parts = (fused.weights, fused.expert_weights)
            recording.routing.append(
                FusedReference(torch.empty(0), *(None if p is None else p.detach().float().cpu() for p in parts))
            )
        if features:
            found = {**args[0], "tokens": fused.tokens}
            left -= sum(value.numel() * value.element_size() for value in found.values())
            if left < 0:
                raise InputError(
                    f"the features of the references outgrow the budget of {told(budget)}; record fewer of them"
                )
            recording.features.append({name: value.detach().to("cpu", copy=True) for name, value in found.items()})

    return keep


class _Session:
    """One open recording: it learns the sizes at the first pass, plans, and hears what comes."""

    def __init__(
        self, dyna: Any, recording: Recording, request: AttentionRequest | None, joint: JointRequest | None, budget: int,
        prompts: list[str],
    ) -> None:  # fmt: skip
        self.dyna = dyna
        self.recording = recording
        self.request = request
        self.joint = joint
        self.budget = budget // 2 if request and joint else budget
        self.prompts = prompts
        self.reference_keeper: ReferenceKeeper | None = None
        self.joint_keeper: JointKeeper | None = None
        self.listener: JointListener | None = None
        self.joint_blocks: list[int] = []
        self.passes = 0

    def open(self, stack: ExitStack) -> None:
        """Put the hooks on; ``stack`` takes them away."""
        if self.request is None and self.joint is None:
            return
        hooks = self.dyna.injector
        transformer: nn.Module = hooks.transformer
        self.recording.words = [tokens_of(self.dyna.backbone, self.dyna.pipe, prompt) for prompt in self.prompts]
        if self.joint is not None:
            self._check_words(self.joint)
            wanted = self.joint.blocks
            blocks = enumerate(self.dyna.backbone.blocks(transformer))
            sites = {number: site for number, site in blocks if wanted is None or number in wanted}
            self.joint_blocks = list(sites)
            forget_compiled(transformer)
            self.listener = JointListener(sites, self._see_joint)
            stack.callback(self.listener.remove)
        if self.request is not None:
            stack.enter_context(self.dyna.observe(self._see_reference))
        stack.callback(transformer.register_forward_pre_hook(self._before, with_kwargs=True).remove)

    def _check_words(self, joint: JointRequest) -> None:
        for word in joint.words:
            if not self.recording.words:
                raise InputError("joint attention of words needs record(..., prompts=[...]): one prompt a sample")
            if not any(_holds(tokens, word) for tokens in self.recording.words):
                places_of(word, [token for tokens in self.recording.words for token in tokens])

    def _before(self, transformer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read the pass that begins; make plans at the first one that counts."""
        hooks = self.dyna.injector
        if self.listener is not None:
            self.listener.text_tokens = None
        phase = hooks.injection.phase if hooks.injection else "inference"
        context = hooks.marks.read(args, kwargs) if phase == "inference" else None
        call = self.dyna.backbone.read_pass(transformer, args, kwargs, context)
        if call.negative:
            return
        steps = getattr(self.dyna.pipe, "_num_timesteps", None)
        if self.request is not None and self.reference_keeper is None and hooks.call is not None:
            facts = facts_of(self.dyna, call, kwargs, steps if phase == "inference" else None)
            self.reference_keeper = ReferenceKeeper(self.request, facts, self.budget)
            self._tell(self.reference_keeper.plan)
        if self.listener is not None and self.joint is not None:
            self._open_joint(call, kwargs, steps if phase == "inference" else None)

    def _open_joint(self, call: ForwardPass, kwargs: dict[str, Any], steps: int | None) -> None:
        if self.joint is None or self.listener is None:
            return
        if self.joint_keeper is None:
            facts = facts_of(self.dyna, call, kwargs, steps)
            words = self._words_of(call.batch)
            self.joint_keeper = JointKeeper(
                self.joint, facts, self.joint_blocks, facts.queries["text"], self.budget, words
            )
            self._tell(self.joint_keeper.plan)
        self.passes += 1
        if (self.passes - 1) % self.joint.every == 0:
            self.joint_keeper.progress = call.progress
            self.listener.skipped = call.negative_rows
            self.listener.text_tokens = self.joint_keeper.text_tokens

    def _tell(self, plan: Plan) -> None:
        self.recording.plans.append(plan)
        if plan.stride > 1:
            logger.warning("%s", plan.words())

    def _words_of(self, batch: int) -> list[list[str]]:
        """Tokens of every row of a pass: several images of one prompt follow each other."""
        given = self.recording.words or [[]]
        if batch % len(given):
            raise InputError(f"{len(given)} prompts were named, but the batch holds {batch} images")
        return [tokens for tokens in given for _ in range(batch // len(given))]

    def _see_reference(self, event: Any) -> None:
        if self.reference_keeper is not None:
            self.reference_keeper.see(event)

    def _see_joint(self, event: Any) -> None:
        if self.joint_keeper is not None:
            self.joint_keeper.see(event)

    def finish(self) -> None:
        """Turn sums into means."""
        found = {}
        if self.reference_keeper is not None:
            self.recording.grid = self.reference_keeper.facts.grid
            self.recording.words = self._named(self.reference_keeper.facts.samples)
            found |= self.reference_keeper.results(self.recording.words)
        if self.joint_keeper is not None:
            self.recording.grid = self.joint_keeper.facts.grid
            self.recording.words = self._named(self.joint_keeper.facts.samples)
            found |= self.joint_keeper.results(self.recording.words)
        for part, branches in found.items():
            self.recording.take(part, branches)

    def _named(self, samples: int) -> list[list[str]]:
        given = self.recording.words
        return [tokens for tokens in given for _ in range(max(1, samples // len(given)))] if given else []


def estimate(
    dyna: Any, *, size: tuple[int, int], steps: int, samples: int = 1, references: int = 1, text_tokens: int = 512,
    attention: AttentionRequest | None = None, budget: int | str = "512MB",
) -> Plan:  # fmt: skip
    """What recording reference attention of such a run will need, without running it; ``size`` is (height, width) in pixels.

    Raises ``InputError`` where ``record`` would. The decoupling policy may leave branches closed, which needs less.
    """
    request = attention or AttentionRequest()
    edge = 2 * int(getattr(dyna.pipe, "vae_scale_factor", 8))
    grid = (size[0] // edge, size[1] // edge)
    rows, columns = dyna.encoder.grid
    with torch.no_grad():
        tokens = dyna.fuse(dyna.features([Image.new("RGB", (columns, rows))])).tokens
    served = {branch for branch in ("image", "text") if dyna.attention.serves(branch)}
    facts = Facts(
        steps=steps, samples=samples, references=range(references), blocks=_open_blocks(dyna.injector, served),
        queries={"image": grid[0] * grid[1], "text": text_tokens}, keys=int(tokens.shape[1]),
        heads=int(dyna.model_signature["heads"]), width=int(dyna.model_signature["width"]), grid=grid, patches=(rows, columns),
    )  # fmt: skip
    return reference_plan(request, facts, parse_bytes(budget))


def _holds(tokens: Sequence[str], word: str) -> bool:
    try:
        return bool(places_of(word, tokens))
    except InputError:
        return False


def facts_of(dyna: Any, call: ForwardPass, kwargs: dict[str, Any], steps: int | None) -> Facts:
    """Sizes of a run, from its first pass."""
    hooks = dyna.injector
    slots = (hooks.injection.slots or []) if hooks.injection else []
    text = int(kwargs["encoder_hidden_states"].shape[1])
    return Facts(
        steps=steps,
        samples=call.batch,
        references=[slot.number for slot in slots],
        blocks=_open_blocks(hooks, hooks.injection.policy.branches(hooks.injection.phase) if hooks.injection else ()),
        queries={"image": call.grid[0] * call.grid[1], "text": text},
        keys=int(slots[0].tokens.shape[1]) if slots else 0,
        heads=int(dyna.model_signature["heads"]),
        width=int(dyna.model_signature["width"]),
        grid=call.grid,
        patches=tuple(dyna.encoder.grid),
    )


def _open_blocks(hooks: Any, branches: Collection[Branch]) -> dict[str, list[int]]:
    """Branch -> blocks that may add a reference term to it; a single-stream block serves the branches of its span."""
    found: dict[str, list[int]] = {"image": [], "text": []}
    for place in hooks.places:
        for branch in set(branches) & set(place.pairs):
            found[branch].append(place.number)
            if place.single and branch == "image" and hooks.span == "all_tokens":
                found["text"].append(place.number)
    return found
