"""What OpenAI's clients send and get, as far as this service speaks it."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from cloud_server.guard.plain_picture import DATA_URLS
from cloud_server.inference.image_store import ID_PREFIX
from cloud_server.inference.mllm.base import Turn
from shared.bitstream import MEDIA_TYPE
from shared.errors import FieldInvalid
from shared.prompt import (
    DEFAULT_NEW_TOKENS,
    MAX_NEW_TOKENS,
    MAX_PROMPT_CHARACTERS,
    check_pictures,
    check_prompt,
)

DATA_URL: Final = f"data:{MEDIA_TYPE};base64,"
MOST_MESSAGES: Final = 64
MOST_CHARACTERS: Final = 4 * MAX_PROMPT_CHARACTERS
"""Of all messages together."""
MOST_PARTS: Final = 64
"""Of a message: a body has room for a million, and each becomes an object."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class PictureUrl(_Part):
    url: str = Field(
        description=f"{DATA_URL}..., or the image_id of a picture that POST /v1/images has kept"
    )


class TextPart(_Part):
    type: Literal["text"]
    text: str


class PicturePart(_Part):
    type: Literal["image_url"]
    image_url: PictureUrl


Part = Annotated[TextPart | PicturePart, Field(discriminator="type")]
Parts = Annotated[list[Part], Field(max_length=MOST_PARTS)]


def _form(content: Any) -> str:
    """Which form of a content is meant, so that an error is about that one."""
    return "parts" if isinstance(content, list) else "text"


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(text for text in texts if text)


class Message(_Part):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[str, Tag("text")] | Annotated[Parts, Tag("parts")], Discriminator(_form)
    ]

    def text(self) -> str:
        """Its texts, one a line."""
        return _lines(part.text for part in self.parts() if isinstance(part, TextPart))

    def pictures(self) -> list[str]:
        """The URLs of its pictures."""
        return [part.image_url.url for part in self.parts() if isinstance(part, PicturePart)]

    def parts(self) -> list[TextPart | PicturePart]:
        """The parts; a plain text is one."""
        if isinstance(self.content, str):
            return [TextPart(type="text", text=self.content)]
        return self.content


class StreamOptions(_Part):
    include_usage: bool = False


class ChatRequest(_Part):
    """What is used of OpenAI's request; answers are greedy, so sampling fields have no effect."""

    model: str = Field(description="as GET /v1/models names it, or empty")
    messages: list[Message] = Field(
        min_length=1, max_length=MOST_MESSAGES, description="turns of a talk about pictures"
    )
    max_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS)
    n: Literal[1] = 1
    stream: bool = False
    stream_options: StreamOptions | None = None

    def count(self) -> int:
        """Most tokens of the answer."""
        return self.max_completion_tokens or self.max_tokens or DEFAULT_NEW_TOKENS

    def conversation(self) -> tuple[str, tuple[Turn, ...]]:
        """The prompt, and the turns before it; instructions belong to the user's next turn.

        Raises FieldInvalid where the user does not have the first and the last word.
        """
        turns: list[Turn] = []
        for message in self.messages:
            role: Literal["user", "assistant"] = (
                "assistant" if message.role == "assistant" else "user"
            )
            text, pictures = message.text(), len(message.pictures())
            if pictures and role == "assistant":
                raise FieldInvalid("pictures come with the user's messages")
            if turns and turns[-1].role == role:
                same = turns.pop()
                text, pictures = _lines([same.text, text]), same.pictures + pictures
            turns.append(Turn(role, text, pictures))
        if turns[0].role == "assistant" or turns[-1].role == "assistant":
            raise FieldInvalid("messages begin and end with the user's")
        if sum(len(turn.text) for turn in turns) > MOST_CHARACTERS:
            raise FieldInvalid(f"messages have more than {MOST_CHARACTERS} characters")
        *history, last = turns
        return check_prompt(last.text, FieldInvalid), tuple(history)

    def pictures(self, plain: bool = False) -> list[bytes | str]:
        """The streams of the pictures, or the ids of kept ones. Raises FieldInvalid.

        plain: files of ordinary pictures are taken as well.
        """
        urls = [url for message in self.messages for url in message.pictures()]
        check_pictures(len(urls), FieldInvalid)
        kinds = (DATA_URL, *DATA_URLS) if plain else (DATA_URL,)
        return [_picture(url, kinds) for url in urls]


def _picture(url: str, kinds: tuple[str, ...]) -> bytes | str:
    if url.startswith(ID_PREFIX):
        return url
    if not url.startswith(kinds):
        raise FieldInvalid(
            "the picture is no CoTAM stream; this server fetches no URLs",
            hint=f"send {DATA_URL}... with what edge_client encode writes",
        )
    try:
        return base64.b64decode(url.partition(",")[2], validate=True)
    except ValueError as error:
        raise FieldInvalid("the picture's base64 is damaged") from error


class ChatMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str


class Choice(BaseModel):
    index: Literal[0] = 0
    message: ChatMessage
    finish_reason: Literal["stop", "length"]


class ChatUsage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(BaseModel):
    """The answer to POST /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage


def request_schemas() -> dict[str, Any]:
    """JSON schemas of the request and its parts by name, for the OpenAPI document.

    The body is read by hand, after admission, so that the framework does not know its form.
    """
    schema = ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), "ChatRequest": schema}
