"""What may be asked, by one rule at both ends. Without pydantic, which takes 0.1 s to import."""

from __future__ import annotations

from typing import Final

from shared.errors import CotamError

MAX_PROMPT_CHARACTERS: Final = 4_000
DEFAULT_NEW_TOKENS: Final = 32
MAX_NEW_TOKENS: Final = 1_024
MAX_PICTURES: Final = 16
"""Of a question."""


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


def check_pictures(count: int, refusal: type[CotamError]) -> int:
    """How many pictures a question is about, as it is. Raises `refusal` outside 1..MAX_PICTURES."""
    if not 1 <= count <= MAX_PICTURES:
        raise refusal(
            f"a question is about 1 to {MAX_PICTURES} pictures, not {count}",
            hint="ask about them in several questions" if count else "name a picture",
        )
    return count


def check_new_tokens(count: int, refusal: type[CotamError]) -> int:
    """The most tokens of an answer, as they are. Raises `refusal` outside 1..MAX_NEW_TOKENS."""
    if not 1 <= count <= MAX_NEW_TOKENS:
        raise refusal(f"max_new_tokens is {count}: 1..{MAX_NEW_TOKENS} are taken")
    return count
