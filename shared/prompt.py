"""What may be asked, by one rule at both ends. Without pydantic, which takes 0.1 s to import."""

from __future__ import annotations

from typing import Final

from shared.errors import CotamError

MAX_PROMPT_CHARACTERS: Final = 4_000
DEFAULT_NEW_TOKENS: Final = 32
MAX_NEW_TOKENS: Final = 1_024


def check_prompt(prompt: str, refusal: type[CotamError]) -> str:
    """The prompt as it is. Raises `refusal` where it is empty, too long, or no text."""
    if not prompt.strip():
        raise refusal("the prompt is empty", hint='ask something: "how many cars?"')
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise refusal(
            f"the prompt has {len(prompt)} characters, over the limit of {MAX_PROMPT_CHARACTERS}",
            hint="shorten it",
        )
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise refusal("the prompt has characters that are no text") from error
    return prompt


def check_new_tokens(count: int, refusal: type[CotamError]) -> int:
    """The most tokens of an answer, as they are. Raises `refusal` outside 1..MAX_NEW_TOKENS."""
    if not 1 <= count <= MAX_NEW_TOKENS:
        raise refusal(f"max_new_tokens is {count}: 1..{MAX_NEW_TOKENS} are taken")
    return count
