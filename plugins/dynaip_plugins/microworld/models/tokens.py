"""Word-level tokenizers that stand where FLUX expects those of CLIP and T5."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ..world.vocabulary import FILLERS, MAX_TOKENS, words

SPECIAL: tuple[str, ...] = ("<pad>", "<unk>", "<s>", "</s>")
PAD, UNKNOWN, START, END = range(len(SPECIAL))


def vocabulary_size() -> int:
    """Number of token ids, special ones included."""
    return len(SPECIAL) + len(words())


def create() -> PreTrainedTokenizerFast:
    """A tokenizer: lower case, no fillers or punctuation, one id per word, `<s> ... </s>`."""
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *words()))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    dropped = rf"\b({'|'.join(FILLERS)})\b|[^\w\s]"
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(dropped), " ")])
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", START), ("</s>", END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=MAX_TOKENS,
    )


def encode(tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str]) -> Tensor:
    """Prompts -> ids, padded to the constant length. [B,24]."""
    found = tokenizer(list(prompts), padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    return found.input_ids.to(torch.int64)
