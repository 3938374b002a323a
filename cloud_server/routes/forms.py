"""What `/v1/query` and `/v1/images` are sent: each form is one model, checked and documented."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final, TypeVar

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

from cloud_server.guard.bodies import FORM, read_parts
from cloud_server.service import Service
from shared.errors import FieldInvalid
from shared.prompt import (
    DEFAULT_NEW_TOKENS,
    MAX_NEW_TOKENS,
    MAX_PROMPT_CHARACTERS,
    check_prompt,
)

_PICTURE: Final = {
    "type": "string",
    "format": "binary",
    "description": "a picture, as `edge_client encode` writes it",
}
_IMAGE_ID: Final = {
    "type": "string",
    "description": "in place of bitstream: a picture that POST /v1/images has kept",
}
_PROMPT: Final = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_PROMPT_CHARACTERS,
    "pattern": r"\S",
    "example": "how many cars?",
}

Picture = Annotated[bytes, WithJsonSchema(_PICTURE)]
ImageId = Annotated[str, WithJsonSchema(_IMAGE_ID)]
Prompt = Annotated[
    str, AfterValidator(lambda text: check_prompt(text, FieldInvalid)), WithJsonSchema(_PROMPT)
]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_bytes="base64")


class PictureForm(_Form):
    """The form of POST /v1/images."""

    bitstream: Picture


class QuestionForm(_Form):
    """The form of POST /v1/query."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["bitstream"]}, {"required": ["image_id"]}]}
    )
    bitstream: Picture = b""
    image_id: ImageId = ""
    prompt: Prompt
    max_new_tokens: int = Field(DEFAULT_NEW_TOKENS, ge=1, le=MAX_NEW_TOKENS)
    stream: bool = Field(False, description="answer with server-sent events: text, text, ..., done")

    @model_validator(mode="after")
    def _one_picture(self) -> QuestionForm:
        if len({"bitstream", "image_id"} & self.model_fields_set) != 1:
            raise FieldInvalid("either bitstream or image_id is needed, and not both")
        return self

    @property
    def picture(self) -> bytes | str:
        """The stream of a picture, or the id of one that was kept."""
        return self.bitstream if "bitstream" in self.model_fields_set else self.image_id

    @property
    def digest(self) -> bytes:
        """32 bytes that name what is asked, however it was sent."""
        return hashlib.sha256(self.model_dump_json().encode()).digest()


FormModel = TypeVar("FormModel", bound=_Form)


async def read_form(request: Request, form: type[FormModel]) -> FormModel:
    """The form of a request. Raises FieldInvalid, RequestError, BodyTooLarge, DeadlineExceeded."""
    service: Service = request.app.state.service
    settings = service.settings
    parts = await read_parts(request, settings.max_body_bytes, settings.body_timeout_s)
    try:
        return form.model_validate(parts)
    except ValidationError as error:
        raise field_invalid(error) from error


def field_invalid(error: ValidationError) -> FieldInvalid:
    """The first of what a model found wrong."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part)[:64] for part in first["loc"]) or "the body"
    return FieldInvalid(f"{where}: {first['msg']}")


def multipart(form: type[_Form]) -> dict[str, Any]:
    """A form in the OpenAPI document: it is read by hand, after admission."""
    schema = form.model_json_schema()
    for field in schema["properties"].values():
        if field.get("default") == "":
            del field["default"]
    return {"requestBody": {"required": True, "content": {FORM: {"schema": schema}}}}
