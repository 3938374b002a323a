"""Typed settings of the service: flag, then environment (`COTAM_*`), then the defaults here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.bundle import DEFAULT
from shared.errors import UsageError

PREFIX: Final = "COTAM_"
Kind = TypeVar("Kind", bound=BaseSettings)
Origin = Annotated[str, Field(pattern=r"^(\*|https?://[^/\s*]+)$")]


class Settings(BaseSettings):
    """Every setting of `cloud_server serve`; `COTAM_` and the name in capitals is its variable."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, allow_inf_nan=False
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65_535, description="port to listen on; 0 picks a free one")
    bundle: Annotated[tuple[str, ...], NoDecode] = Field(
        (DEFAULT,),
        min_length=1,
        description="bundles whose streams are taken: embedded names, folders, https://... or "
        "hf:ORG/NAME[@REVISION], with commas",
    )
    mllm: str = Field(
        "",
        description="language model: a folder, a hub id, the http(s) address of an OpenAI-form "
        "server, ending in /v1, or `rapidocr`, which only reads print (needs cotam[reading]); "
        "empty: that of a bundle",
    )
    upstream_model: str = Field(
        "", description="model to ask such a server for; empty: the first that it names"
    )
    upstream_key: SecretStr = Field(SecretStr(""), description="its API key")
    upstream_timeout_s: float = Field(30.0, gt=0, description="longest silence of such a server")
    upstream_retries: int = Field(2, ge=0, le=10, description="further tries when it fails")
    upstream_tower: str = Field(
        "",
        description="folder or hub id of the LLaVA that such a server runs: its vision tower then "
        "looks here, with the adapter, and features are sent instead of a PNG",
    )
    calibration: str = Field(
        "",
        description="slope,offset that make confidence of the model's own probabilities, as "
        "`python -m evaluation calibration` fits them; empty: what was fitted for the embedded "
        "model, for others 1,0",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where networks run")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto",
        description="form of the language model's weights; auto: float32 on a CPU, on a GPU the "
        "checkpoint's own, bfloat16 for float32",
    )
    quantise: Literal["none", "int8", "nf4"] = Field(
        "none",
        description="layers of the language model in 8 or 4 bits (needs cotam[quantised]); the "
        "vision tower stays as it is",
    )
    synthesis: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="arithmetic in which pictures are restored and adapters run; auto: bfloat16 "
        "where the processor multiplies in it, else float32",
    )
    keep_tokens: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of a picture's tokens that the language model reads: those of cells "
        "with fewer bits are merged into one, pictures without a level map are read whole",
    )
    threads: int = Field(0, ge=0, le=1024, description="CPU threads of torch; 0 leaves it to torch")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe line that is logged"
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="form of the log; auto: text on a terminal, else json"
    )
    drain_delay_s: float = Field(
        0.0, ge=0, description="time between a SIGTERM and the last connection that is taken"
    )
    drain_s: float = Field(
        30.0, gt=0, description="time that accepted requests have to end after that"
    )
    max_body_bytes: int = Field(16 << 20, ge=1024, description="largest request body")
    max_pixels: int = Field(1 << 22, ge=1, description="largest picture that is decoded")
    plain_pictures: bool = Field(
        False,
        description="take PNG, JPEG and WebP as well; the model sees them as they are",
    )
    api_keys: SecretStr = Field(
        SecretStr(""),
        description="name=SHA-256 of each key, with commas, as `cloud_server key` prints them; "
        "empty: everyone may ask",
    )
    api_keys_file: Path | None = Field(None, description="the same, one a line, in a file")
    rate_per_minute: float = Field(0.0, ge=0, description="requests of a key a minute; 0: no limit")
    rate_burst: int = Field(20, ge=1, description="requests of a key at once under that limit")
    max_requests: int = Field(
        64, ge=1, description="requests read, queued or answered at once; more get 503"
    )
    max_batch: int = Field(8, ge=1, le=256, description="most questions answered in one batch")
    deadline_s: float = Field(60.0, gt=0, description="time in which a request is answered")
    replays: int = Field(
        1000, ge=0, description="answers kept for repeated idempotency keys; 0: none"
    )
    replay_ttl_s: float = Field(3600.0, gt=0, description="how long such an answer is kept")
    images: int = Field(1000, ge=0, description="pictures kept for later questions")
    image_bytes: int = Field(1 << 30, ge=0, description="memory of the pictures that are kept")
    image_ttl_s: float = Field(600.0, gt=0, description="how long a picture is kept")
    body_timeout_s: float = Field(15.0, gt=0, description="time in which a body must arrive")
    otlp_endpoint: str = Field(
        "",
        description="address of an OpenTelemetry collector (OTLP over HTTP) that gets traces "
        "(needs cotam[otel]); empty: none",
    )
    playground: bool = Field(True, description="serve a page for trying at /")
    cors_origins: Annotated[tuple[Origin, ...], NoDecode] = Field(
        (),
        description="origins whose pages may ask, as https://example.org, with commas; `*`: all; "
        "empty: none but the playground",
    )

    @field_validator("bundle", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value


def load_settings(**flags: Any) -> Settings:
    """Settings from flags (None: not given) and the environment. Raises as `checked`."""
    given = {name: value for name, value in flags.items() if value is not None}
    return checked(Settings, given, "`cloud_server serve --help` lists the settings")


def checked(kind: type[Kind], given: dict[str, Any], hint: str) -> Kind:
    """Settings of what is given, then of the environment.

    Raises UsageError that names the first setting that is wrong and its value; secrets stay hidden.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        field = kind.model_fields.get(name)
        secret = field is not None and field.annotation is SecretStr
        value = "***" if secret else repr(first["input"])
        prefix = kind.model_config["env_prefix"]
        raise UsageError(f"{prefix}{name.upper()} is {value}: {first['msg']}", hint=hint) from error


def default_of(name: str) -> str:
    """A setting's default as it would stand in the environment."""
    default = Settings.model_fields[name].default
    if isinstance(default, tuple):
        return ",".join(default)
    if isinstance(default, SecretStr) or default is None:
        return ""
    return str(default)
