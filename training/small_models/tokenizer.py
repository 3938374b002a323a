"""The tokenizer of the small world: its words whole, everything else spelled letter by letter.

WordPiece does both: a word in the vocabulary is one token, any other falls apart into characters,
so signs are read character by character and unknown words are still seen.
"""

from __future__ import annotations

from typing import Final

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from scenes import CHARACTERS as PRINTED
from scenes import COLOURS, KINDS
from scenes.vocabulary import vocabulary
from scenes.world import PLURALS

PAD, UNKNOWN, END, START, IMAGE = "<pad>", "<unk>", "</s>", "<s>", "<image>"
CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
PUNCTUATION = "?.,!:;'\"()-"
WORDS_OF: Final = {
    "kind": [[kind, PLURALS[kind]] for kind in KINDS],
    "colour": [[colour] for colour in COLOURS],
    "character": [[c.lower(), f"##{c.lower()}"] for c in PRINTED],
}
"""Tokens of each kind, colour and character, as the patch labels of that name count them from 1."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A fast Hugging Face tokenizer; padding on the right, ids 0..4 are the special tokens."""
    special = [PAD, UNKNOWN, END, START, IMAGE]
    pieces = [*CHARACTERS, *(f"##{c}" for c in CHARACTERS), *PUNCTUATION]
    names = list(dict.fromkeys([*special, *pieces, *vocabulary()]))
    core = Tokenizer(
        models.WordPiece(
            {name: i for i, name in enumerate(names)},
            unk_token=UNKNOWN,
            max_input_chars_per_word=64,
        )
    )
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        bos_token=START,
        additional_special_tokens=[IMAGE],
        model_max_length=1024,
        padding_side="right",
    )
