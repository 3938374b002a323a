"""What OpenAI's clients send and get, as far as this service speaks it."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from shared.bitstream import MEDIA_TYPE
from shared.errors import FieldInvalid
from shared.prompt import DEFAULT_NEW_TOKENS, MAX_NEW_TOKENS, check_prompt

DATA_URL: Final = f"data:{MEDIA_TYPE};base64,"
MOST_MESSAGES: Final = 8
MOST_PARTS: Final = 64
"""Of a message: a body has room for a million, and each becomes an object."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class PictureUrl(_Part):
    url: str = Field(description=f"{DATA_URL}... and no other")


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


class Message(_Part):
    role: Literal["system", "developer", "user"]
    content: Annotated[
        Annotated[str, Tag("text")] | Annotated[Parts, Tag("parts")], Discriminator(_form)
    ]

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
        min_length=1, max_length=MOST_MESSAGES, description="with one picture among them"
    )
    max_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS)
    n: Literal[1] = 1
    stream: bool = False
    stream_options: StreamOptions | None = None

    def count(self) -> int:
        """Most tokens of the answer."""
        return self.max_completion_tokens or self.max_tokens or DEFAULT_NEW_TOKENS

    def prompt(self) -> str:
        """The texts of all messages, in their order. Raises FieldInvalid."""
        texts = [p.text for m in self.messages for p in m.parts() if isinstance(p, TextPart)]
        return check_prompt("\n".join(texts), FieldInvalid)

    def picture(self) -> bytes:
        """The stream of the one picture. Raises FieldInvalid."""
        urls = [
            p.image_url.url for m in self.messages for p in m.parts() if isinstance(p, PicturePart)
        ]
        if len(urls) != 1:
            raise FieldInvalid(f"messages hold {len(urls)} pictures: one is taken")
        if not urls[0].startswith(DATA_URL):
            raise FieldInvalid(
                "the picture is no CoTAM stream; this server fetches no URLs",
                hint=f"send {DATA_URL}... with what edge_client encode writes",
            )
        try:
            return base64.b64decode(urls[0][len(DATA_URL) :], validate=True)
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


EXAMPLE: Final[dict[str, Any]] = {
    "model": "tiny",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"{DATA_URL}x1QB..."}},
                {"type": "text", "text": "how many cars?"},
            ],
        }
    ],
    "max_tokens": DEFAULT_NEW_TOKENS,
}


def request_schemas() -> dict[str, Any]:
    """JSON schemas of the request and its parts by name, for the OpenAPI document.

    The body is read by hand, after admission, so that the framework does not know its form.
    """
    found = ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**found.pop("$defs"), "ChatRequest": found}
