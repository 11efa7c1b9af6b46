"""Adapters on the hub: their folder, uploaded with a model card."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dynaip.adapter import files
from dynaip.adapter.card import write_card
from dynaip.adapter.parts import Adapter
from dynaip.models import local_folder


def push(adapter: Adapter, repo_id: str, *, private: bool, card: str | None, run: str | Path | None = None) -> str:
    """Upload the adapter's folder and its card to the hub; ``run`` has the training and the scores that the card tells."""
    from huggingface_hub import HfApi

    told = local_folder(run, "adapter") if run else adapter.source
    with tempfile.TemporaryDirectory() as name:
        folder = files.save(adapter, Path(name))
        write_card(adapter, folder, run=told, card=card)
        api = HfApi()
        api.create_repo(repo_id, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo_id, folder_path=folder))
