"""Records attention, routing and features while a pipeline runs, exactly, within a byte budget, and without a trace.

Attention is computed again from the queries and keys that hooks hold: softmax per head first, then the running means
(ours). The run itself is untouched: nothing is replaced, no random number drawn, no tensor written.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from PIL import Image

from dynaip.adapter.attention import BRANCHES
from dynaip.adapter.compiled import is_compiled
from dynaip.adapter.events import PassEvent, ReferenceEvent
from dynaip.adapter.model import DynaIP
from dynaip.adapter.words import places_of, tokens_of
from dynaip.contracts import Branch, FusedReference
from dynaip.errors import InputError
from dynaip_analysis.recording.budget import RecordingPlan, bytes_told, parse_bytes
from dynaip_analysis.recording.joint import JointEvent, JointListener
from dynaip_analysis.recording.joint_maps import JointKeeper, JointRequest, joint_plan
from dynaip_analysis.recording.recording import Recording
from dynaip_analysis.recording.reference_maps import AttentionRequest, Facts, ReferenceKeeper, reference_plan

__all__ = ["AttentionRequest", "JointRequest", "Recording", "estimate", "record"]

logger = logging.getLogger(__name__)


@contextmanager
def record(
    dyna: DynaIP,
    *,
    attention: bool | AttentionRequest = True,
    joint: JointRequest | None = None,
    routing: bool = True,
    features: bool = False,
    prompts: str | Sequence[str] = (),
    budget: float | str = "512MB",
) -> Generator[Recording]:
    """Record around any call of the pipeline or training step; may be nested; gone on every exit.

    ``prompts`` (one a sample) name the text tokens, and are needed for ``JointRequest(words=...)``. At the first pass,
    before anything is computed, ``budget`` (bytes, or text such as ``"2GB"``) is held against what the run will need, in
    equal parts for reference attention, joint attention and features, those that are wanted: neighbouring steps are merged
    by their mean until it fits, and ``InputError`` says what a single step needs if that does not fit.
    ``recording.plans`` tells the estimate. Blocks that are compiled run as they were written meanwhile.
    """
    recording = Recording()
    if not isinstance(attention, (bool, AttentionRequest)):
        raise InputError(f"record: attention is True, False or AttentionRequest(...), not {type(attention).__name__}")
    request = AttentionRequest() if attention is True else attention or None
    part = parse_bytes(budget) // max(1, sum((request is not None, joint is not None, features)))
    session = _Session(dyna, recording, request, joint, part, [prompts] if isinstance(prompts, str) else list(prompts))
    with ExitStack() as stack:
        session.open(stack)
        if routing or features:
            keeper = FusionKeeper(recording, routing, features, part if features else part // ROUTING)
            stack.callback(dyna.fusion.register_forward_hook(keeper.keep).remove)
        yield recording
    session.finish()


ROUTING = 32
"""Routing alone may take this fraction of the budget: what a plan leaves free of its room to work in is more."""


class FusionKeeper:
    """Keeps what the fusion was given and gave, call by call, on the CPU, while there is room for it."""

    def __init__(self, recording: Recording, routing: bool, features: bool, budget: int) -> None:
        self.recording = recording
        self.routing = routing
        self.features = features
        self.left = self.budget = budget

    @torch.no_grad()
    def keep(self, fusion: Any, args: Any, fused: FusedReference) -> None:
        """Hear one call: refuse the first one if there is no room for it, leave later ones out with a word."""
        weights = (fused.weights, fused.expert_weights) if self.routing else ()
        held = {**args[0], "tokens": fused.tokens} if self.features else {}
        size = sum(4 * part.numel() for part in weights if part is not None)
        size += sum(value.numel() * value.element_size() for value in held.values())
        if size > self.left:
            self._full(size)
            return
        self.left -= size
        if self.routing:
            parts = (None if part is None else part.detach().float().cpu() for part in weights)
            self.recording.routing.append(FusedReference(torch.empty(0), *parts))
        if held:
            self.recording.features.append({name: value.to("cpu", copy=True) for name, value in held.items()})

    def _full(self, size: int) -> None:
        what = "the features of the references" if self.features else "the routing of the references"
        if self.left == self.budget:
            raise InputError(
                f"{what} need {bytes_told(size)} and their part of the budget is {bytes_told(self.budget)}; "
                "give more, or record fewer"
            )
        if self.left >= 0:
            logger.warning(
                "%s outgrow their part of the budget (%s): later calls are left out", what, bytes_told(self.budget)
            )
        self.left = -1


class _Session:
    """One open recording: it learns the sizes at the first pass, plans, and hears what comes."""

    def __init__(
        self, dyna: DynaIP, recording: Recording, request: AttentionRequest | None, joint: JointRequest | None, budget: int,
        prompts: list[str],
    ) -> None:  # fmt: skip
        self.dyna = dyna
        self.recording = recording
        self.request = request
        self.joint = joint
        self.budget = budget
        self.prompts = prompts
        self.reference_keeper: ReferenceKeeper | None = None
        self.joint_keeper: JointKeeper | None = None
        self.listener: JointListener | None = None
        self.joint_blocks: list[int] = []
        self.passes = 0
        self.closed: list[float] = []
        """Progress of the passes before the first that sees a reference."""

    def open(self, stack: ExitStack) -> None:
        """Put the hooks on; ``stack`` takes them away."""
        if self.request is None and self.joint is None:
            return
        transformer = self.dyna.transformer
        self.recording.words = [tokens_of(self.dyna.backbone, self.dyna.pipe, prompt) for prompt in self.prompts]
        if is_compiled(transformer) or is_compiled(getattr(self.dyna.pipe, "transformer", transformer)):
            # Traced code would break at every map, or refuse to (fullgraph), and what it was traced without stays unseen.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if self.joint is not None:
            self._check_words(self.joint)
            sites = dict(enumerate(self.dyna.backbone.blocks(transformer)))
            self.joint_blocks = blocks_to_record("joint attention", self.joint.blocks, list(sites))
            self.listener = JointListener({number: sites[number] for number in self.joint_blocks}, self._see_joint)
            stack.callback(self.listener.remove)
        if self.request is not None:
            blocks_to_record("attention", self.request.blocks, self.dyna.block_numbers)
            stack.enter_context(self.dyna.observe(self._see_reference))
        stack.enter_context(self.dyna.observe_passes(self._see_pass))

    def _check_words(self, joint: JointRequest) -> None:
        for word in joint.words:
            if not self.recording.words:
                raise InputError("joint attention of words needs record(..., prompts=[...]): one prompt a sample")
            if not any(_holds(tokens, word) for tokens in self.recording.words):
                places_of(word, [token for tokens in self.recording.words for token in tokens])

    @torch.no_grad()
    def _see_pass(self, event: PassEvent) -> None:
        """Hear of a pass that begins; make plans at the first one that counts."""
        if self.listener is not None:
            self.listener.text_tokens = None
        if event.call.negative:
            return
        if self.request is not None and event.policy is not None:
            self._open_reference(self.request, event)
        if self.listener is not None and self.joint is not None:
            self._open_joint(self.joint, self.listener, event)

    def _open_reference(self, request: AttentionRequest, event: PassEvent) -> None:
        call = event.call
        if event.slots:
            facts = facts_of(self.dyna, event)
            if self.reference_keeper is None:
                self._words_of(call.batch)
                self.reference_keeper = ReferenceKeeper(request, facts, self.budget, device_of(self.dyna))
                self._tell(self.reference_keeper.plan)
                for progress in self.closed:
                    self.reference_keeper.weigh(progress, {})
            self.reference_keeper.check(facts)
        if self.reference_keeper is not None:
            self.reference_keeper.weigh(call.progress, event.weights)
        elif call.progress not in self.closed:
            self.closed.append(call.progress)

    def _open_joint(self, joint: JointRequest, listener: JointListener, event: PassEvent) -> None:
        call, facts = event.call, facts_of(self.dyna, event)
        if self.joint_keeper is None:
            words = self._words_of(call.batch)
            text = facts.queries["text"]
            device = device_of(self.dyna)
            self.joint_keeper = JointKeeper(joint, facts, self.joint_blocks, text, self.budget, words, device)
            self._tell(self.joint_keeper.plan)
        self.joint_keeper.check(facts)
        self.passes += 1
        if (self.passes - 1) % joint.every == 0:
            self.joint_keeper.progress = call.progress
            listener.skipped = call.negative_rows
            listener.text_tokens = self.joint_keeper.text_tokens

    def _tell(self, plan: RecordingPlan) -> None:
        self.recording.plans.append(plan)
        if plan.stride > 1:
            logger.warning("%s", plan.words())

    def _words_of(self, batch: int) -> list[list[str]]:
        """Tokens of every row of a pass: several images of one prompt follow each other."""
        given = self.recording.words or [[]]
        if batch % len(given):
            raise InputError(f"{len(given)} prompts were named, but the batch holds {batch} images")
        return [tokens for tokens in given for _ in range(batch // len(given))]

    def _see_reference(self, event: ReferenceEvent) -> None:
        if self.reference_keeper is not None:
            self.reference_keeper.see(event)

    def _see_joint(self, event: JointEvent) -> None:
        if self.joint_keeper is not None:
            self.joint_keeper.see(event)

    def finish(self) -> None:
        """Turn sums into means; say where there are none."""
        found = {}
        if self.request is not None and not (self.reference_keeper and self.reference_keeper.heard):
            logger.warning(
                "no reference attention was recorded: no pass inside record(...) had a reference in an open branch; "
                "run the pipeline inside dyna.references(...), or ask for attention=False"
            )
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
    dyna: DynaIP, *, size: tuple[int, int], steps: int, samples: int = 1, references: int = 1, text_tokens: int = 512,
    attention: AttentionRequest | None = None, joint: JointRequest | None = None, budget: float | str = "512MB",
) -> RecordingPlan:  # fmt: skip
    """What recording such a run will need, without running it; ``size`` is (height, width) in pixels.

    Tells of reference attention, or of joint attention if ``joint`` is given alone; with both, and for all of them in
    ``record``, give each its part of the budget. Raises ``InputError`` where ``record`` would. The decoupling policy may leave
    branches closed, which needs less.
    """
    edge = 2 * int(getattr(dyna.pipe, "vae_scale_factor", 8))
    grid = (size[0] // edge, size[1] // edge)
    rows, columns = dyna.encoder.grid
    with torch.no_grad():
        tokens = dyna.fuse(dyna.features([Image.new("RGB", (columns, rows))])).tokens
    served: list[Branch] = [branch for branch in BRANCHES if dyna.attention.serves(branch)]
    facts = Facts(
        steps=steps, samples=samples, references=range(references), blocks=dyna.open_blocks(served),
        queries={"image": grid[0] * grid[1], "text": text_tokens}, keys=int(tokens.shape[1]),
        heads=int(dyna.model_signature["heads"]), width=int(dyna.model_signature["width"]), grid=grid, patches=(rows, columns),
    )  # fmt: skip
    if joint is not None and attention is None:
        blocks = range(len(dyna.backbone.blocks(dyna.transformer)))
        chosen = blocks_to_record("joint attention", joint.blocks, blocks)
        return joint_plan(joint, facts, chosen, text_tokens, parse_bytes(budget))
    return reference_plan(attention or AttentionRequest(), facts, parse_bytes(budget))


def device_of(dyna: DynaIP) -> torch.device | None:
    """The accelerator that the transformer runs on, also where blocks are brought there one by one; None on a CPU."""
    device = getattr(dyna.pipe, "_execution_device", None) or next(dyna.transformer.parameters()).device
    return None if device.type in ("cpu", "meta") else device


def blocks_to_record(what: str, wanted: Collection[int] | None, there: Sequence[int]) -> list[int]:
    """Numbers of the blocks to record; ``InputError`` names those that do not exist."""
    missing = sorted(set(wanted or ()) - set(there))
    if missing or (wanted is not None and not wanted):
        raise InputError(f"{what}: there is no block {missing or wanted}; the blocks are {', '.join(map(str, there))}")
    return [number for number in there if wanted is None or number in wanted]


def _holds(tokens: Sequence[str], word: str) -> bool:
    try:
        return bool(places_of(word, tokens))
    except InputError:
        return False


def facts_of(dyna: DynaIP, event: PassEvent) -> Facts:
    """Sizes of a run, from its first pass."""
    call, policy = event.call, event.policy
    if not call.text_tokens:
        raise InputError(f"{type(dyna.backbone).__name__}.read_pass tells no text_tokens, which a recording needs")
    return Facts(
        steps=getattr(dyna.pipe, "_num_timesteps", None) if event.phase == "inference" else None,
        samples=call.batch,
        references=[slot.number for slot in event.slots],
        blocks=dyna.open_blocks(policy.branches(event.phase) if policy else ()),
        queries={"image": call.grid[0] * call.grid[1], "text": call.text_tokens},
        keys=int(event.slots[0].tokens.shape[1]) if event.slots else 0,
        heads=int(dyna.model_signature["heads"]),
        width=int(dyna.model_signature["width"]),
        grid=call.grid,
        patches=dyna.encoder.grid,
    )
