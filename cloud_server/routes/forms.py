"""What `/v1/query` and `/v1/images` are sent: each form is one model, checked and documented.

Its fields come as multipart/form-data, or as a stream and what stands before it and in the URL,
which is what the edge sends: a quarter of the bytes around them.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, ClassVar, Final, TypeVar

from fastapi import Request
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from cloud_server.guard.bodies import FORM, media_type, read_body, read_parts
from cloud_server.service import Service
from shared.bitstream import MEDIA_TYPE
from shared.errors import FieldInvalid
from shared.frames import MEDIA_TYPE as CLIP_MEDIA_TYPE
from shared.prompt import (
    DEFAULT_NEW_TOKENS,
    MAX_NEW_TOKENS,
    MAX_PICTURES,
    MAX_PROMPT_CHARACTERS,
    check_pictures,
    check_prompt,
)
from shared.query_body import split_body

TARGET_CONFIDENCE: Final = 0.8
"""With the edge's first quality what validation scenes chose: `python -m evaluation ask_back`."""

_PICTURE: Final = {
    "type": "string",
    "format": "binary",
    "description": "a picture, as `edge_client encode` writes it",
}
_PROMPT: Final = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_PROMPT_CHARACTERS,
    "pattern": r"\S",
    "example": "how many cars?",
}

Picture = Annotated[bytes, WithJsonSchema(_PICTURE)]
Pictures = Annotated[
    tuple[bytes, ...],
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "maxItems": MAX_PICTURES,
            "description": "a picture, as `edge_client encode` writes it; several in their order",
        }
    ),
]
ImageIds = Annotated[
    tuple[str, ...],
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": MAX_PICTURES,
            "description": "in place of bitstream: pictures that POST /v1/images has kept",
        }
    ),
]
Prompt = Annotated[
    str, AfterValidator(lambda text: check_prompt(text, FieldInvalid)), WithJsonSchema(_PROMPT)
]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_bytes="base64")

    in_url: ClassVar[tuple[str, ...]] = ()
    """Fields that may stand in the URL instead."""
    repeated: ClassVar[tuple[str, ...]] = ()
    """Fields that may come several times."""

    @staticmethod
    def fields_of(body: bytes) -> dict[str, Any]:
        """The fields that a body holds which is no form but a stream."""
        return {"bitstream": body}


class PictureForm(_Form):
    """The form of POST /v1/images."""

    bitstream: Picture


class QuestionForm(_Form):
    """The form of POST /v1/query."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["bitstream"]}, {"required": ["image_id"]}]}
    )
    bitstream: Pictures = ()
    image_id: ImageIds = ()
    prompt: Prompt
    max_new_tokens: int = Field(DEFAULT_NEW_TOKENS, ge=1, le=MAX_NEW_TOKENS)
    stream: bool = Field(False, description="answer with server-sent events: text, text, ..., done")
    ask_back: bool = Field(False, description="ask for what would make an unsure answer surer")
    target_confidence: float = Field(
        TARGET_CONFIDENCE, gt=0, le=1, description="with ask_back: from which an answer is sure"
    )
    max_bytes: int | None = Field(
        None, ge=1, description="with ask_back: most bytes of what is asked for, about"
    )
    keep: bool = Field(False, description="of a clip: keep its last frame, to be gone on from")
    continues: str = Field(
        "", max_length=64, description="of a clip: the image_id of the frame that it goes on from"
    )
    in_url = (
        *("max_new_tokens", "stream", "ask_back", "target_confidence", "max_bytes"),
        *("keep", "continues"),
    )
    repeated = ("bitstream", "image_id")

    @staticmethod
    def fields_of(body: bytes) -> dict[str, Any]:
        """The question, and at once the streams. Raises StreamForeign where there is none."""
        prompt, streams = split_body(body)
        return {"prompt": prompt, "bitstream": streams}

    @model_validator(mode="after")
    def _pictures(self) -> QuestionForm:
        if len({"bitstream", "image_id"} & self.model_fields_set) != 1:
            raise FieldInvalid("either bitstream or image_id is needed, and not both")
        check_pictures(len(self.pictures), FieldInvalid)
        return self

    @property
    def pictures(self) -> tuple[bytes, ...] | tuple[str, ...]:
        """The streams of the pictures, or the ids of those that were kept."""
        return self.bitstream or self.image_id

    @property
    def digest(self) -> bytes:
        """32 bytes that name what is asked, however it was sent."""
        return hashlib.sha256(self.model_dump_json().encode()).digest()


FormModel = TypeVar("FormModel", bound=_Form)


async def read_form(request: Request, form: type[FormModel]) -> FormModel:
    """The form of a request.

    Raises FieldInvalid, RequestError, StreamForeign, BodyTooLarge or DeadlineExceeded.
    """
    service: Service = request.app.state.service
    limits = service.settings.max_body_bytes, service.settings.body_timeout_s
    fields: dict[str, Any] = {}
    if media_type(request) in (MEDIA_TYPE, CLIP_MEDIA_TYPE):
        fields = form.fields_of(await read_body(request, *limits))
    else:
        for name, values in (await read_parts(request, *limits)).items():
            if name not in form.repeated and len(values) > 1:
                raise FieldInvalid(f"the field {name[:64]!r} was sent twice")
            fields[name] = values if name in form.repeated else values[0]
    for name, value in request.query_params.multi_items():
        if name in form.in_url:
            if name in fields:
                raise FieldInvalid(f"the field {name} was sent twice")
            fields[name] = value
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        raise field_invalid(error) from error


def field_invalid(error: ValidationError) -> FieldInvalid:
    """The first of what a model found wrong."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part)[:64] for part in first["loc"]) or "the body"
    return FieldInvalid(f"{where}: {first['msg']}")


def described(form: type[_Form], stream: str) -> dict[str, Any]:
    """A form in the OpenAPI document: it is read by hand, after admission.

    stream: what a body is that is no form but a stream.
    """
    schema = form.model_json_schema()
    for field in schema["properties"].values():
        if field.get("default") == []:
            del field["default"]
    binary = {"type": "string", "format": "binary", "description": stream}
    content = {FORM: {"schema": schema}, MEDIA_TYPE: {"schema": binary}}
    if "bitstream" in form.repeated:
        clip = {**binary, "description": "the question in UTF-8, and at once a clip"}
        content[CLIP_MEDIA_TYPE] = {"schema": clip}
    in_url = [
        {"in": "query", "name": name, "schema": schema["properties"][name]} for name in form.in_url
    ]
    return {"parameters": in_url, "requestBody": {"required": True, "content": content}}
