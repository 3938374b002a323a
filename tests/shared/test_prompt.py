"""One rule for what may be asked, raised as what each end raises."""

from __future__ import annotations

import pytest

from shared.errors import CotamError, FieldInvalid, UsageError
from shared.prompt import MAX_NEW_TOKENS, MAX_PROMPT_CHARACTERS, check_new_tokens, check_prompt


@pytest.mark.parametrize("prompt", ["?", " how many? ", "\N{SNOWMAN}", "x" * MAX_PROMPT_CHARACTERS])
def test_prompts(prompt: str) -> None:
    assert check_prompt(prompt, UsageError) == prompt


@pytest.mark.parametrize("refusal", [UsageError, FieldInvalid])
@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("x" * (MAX_PROMPT_CHARACTERS + 1), "4001"),
        ("\udcff", "no text"),
    ],
)
def test_what_is_no_prompt(prompt: str, part: str, refusal: type[CotamError]) -> None:
    with pytest.raises(refusal, match=part):
        check_prompt(prompt, refusal)


@pytest.mark.parametrize("count", [0, -1, MAX_NEW_TOKENS + 1])
def test_counts_of_tokens(count: int) -> None:
    assert check_new_tokens(MAX_NEW_TOKENS, UsageError) == MAX_NEW_TOKENS
    with pytest.raises(UsageError, match="max_new_tokens is"):
        check_new_tokens(count, UsageError)
