"""Write a stand-in tokenizer (one word, one token) for tools that insist on one: `python make_tokenizer.py FOLDER`.

Runs in the tool's own environment, which has the libraries. Timing figures do not depend on it.
"""

from __future__ import annotations

import sys

from tokenizers import Tokenizer, models, pre_tokenizers  # type: ignore[import-not-found,unused-ignore]
from transformers import PreTrainedTokenizerFast  # type: ignore[import-not-found,unused-ignore]

SPECIAL = {"unk_token": "[UNK]", "pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]"}
WORDS = [*SPECIAL.values(), "token", *(f"word{number}" for number in range(1000))]


def main(folder: str) -> None:
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, **SPECIAL).save_pretrained(folder)


if __name__ == "__main__":
    main(sys.argv[1])
