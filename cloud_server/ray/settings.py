"""How much of everything a Ray application has: argument, then environment, then the defaults."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from cloud_server.settings import checked

PREFIX: Final = "COTAM_RAY_"


class RaySettings(BaseSettings):
    """Every setting of `cloud_server.ray.app` beside those of the service."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    ingress: int = Field(1, ge=1, description="processes that speak HTTP with clients")
    min_decoders: int = Field(1, ge=1, description="decoders that are always there")
    max_decoders: int = Field(4, ge=1, description="decoders under load")
    decoder_gpus: float = Field(0.0, ge=0, description="GPUs, or the share of one, of a decoder")
    min_models: int = Field(1, ge=1, description="language models that are always there")
    max_models: int = Field(4, ge=1, description="language models under load")
    model_gpus: float = Field(0.0, ge=0, description="GPUs, or the share of one, of a model")


def load_ray_settings(arguments: dict[str, Any]) -> RaySettings:
    """The settings of arguments and the environment. Raises UsageError that names what is wrong."""
    return checked(
        RaySettings, arguments, f"the settings are: {', '.join(RaySettings.model_fields)}"
    )
