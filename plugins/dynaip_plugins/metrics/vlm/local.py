"""A judge on this machine: any image-text-to-text model of transformers with a chat template, greedy."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor

from dynaip.errors import InputError
from dynaip.judging.answers import Reply
from dynaip.judging.questions import Question
from dynaip.models import local_folder
from dynaip.suggest import one_line
from dynaip_plugins.shared.pretrained import DTYPES, quiet, refuse_missing

from .config import VlmConfig

LOADER: Any = AutoModelForImageTextToText
"""Its types know no loading report."""
PROBE = 1 << 16
"""Bytes at either end of a file of weights that tell it from another of the same size."""


class Local:
    """Holds the model and asks it, one question at a time."""

    def __init__(self, config: VlmConfig) -> None:
        self.config, self.device = config, torch.device("cpu")
        self.folder = local_folder(config.model, "judge", revision=config.revision)
        self.model: Any = None
        self.processor: Any = None

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """All that answers depend on: a model is known by its files, wherever they lie."""
        config = self.config
        about = {"max_tokens": config.max_tokens, "dtype": config.dtype, "sampling": "greedy"}
        return {"model": Path(config.model).name, "revision": config.revision, "files": _digest(self.folder), **about}

    def prepare(self) -> None:
        """Load the model; ``InputError`` in one line if it is no such model."""
        if self.model is not None:
            return
        try:
            with quiet():
                self.processor = AutoProcessor.from_pretrained(self.folder)
                self.model, report = LOADER.from_pretrained(
                    self.folder, dtype=DTYPES[self.config.dtype], use_safetensors=True, output_loading_info=True
                )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise InputError(
                f"metric vlm: {self.config.model} cannot be loaded as a judge ({one_line(error)})"
            ) from error
        refuse_missing(report["missing_keys"], f"metric vlm: {self.config.model}", "whole image-text-to-text model")
        if not getattr(self.processor, "chat_template", None):
            raise InputError(f"metric vlm: {self.config.model} has no chat template, so it cannot be asked")
        self.model.eval().to(self.device)

    def to(self, device: Any) -> None:
        """Move the model, now or when it is loaded."""
        self.device = torch.device(device)
        if self.model is not None:
            self.model.to(self.device)

    @torch.no_grad()
    def ask(self, question: Question) -> Reply:
        """Generate an answer."""
        start, content = time.monotonic(), list[dict[str, Any]]()
        for name, image in question.pictures:
            content += [{"type": "text", "text": name}, {"type": "image", "image": image}]
        content.append({"type": "text", "text": question.text})
        inputs = self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self.device, DTYPES[self.config.dtype])
        read = inputs["input_ids"].shape[1]
        found = self.model.generate(**inputs, max_new_tokens=self.config.max_tokens, do_sample=False)[0, read:]
        text = self.processor.decode(found, skip_special_tokens=True)
        ended = len(found) and int(found[-1]) in _ends(self.model)
        return Reply(text, "stop" if ended else "length", "", read, len(found), time.monotonic() - start)


def _ends(model: Any) -> set[int]:
    found = model.generation_config.eos_token_id
    return set(found) if isinstance(found, (list, tuple)) else {found}


def _digest(folder: Path) -> str:
    """12 hex digits of a model's files, without reading gigabytes."""
    found = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.jinja"), *folder.glob("*.safetensors")]):
        size = path.stat().st_size
        with path.open("rb") as data:
            found.update(f"{path.name} {size} ".encode() + data.read(PROBE))
            if size > PROBE:
                data.seek(-PROBE, 2)
                found.update(data.read())
    return found.hexdigest()[:12]
