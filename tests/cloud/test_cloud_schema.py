"""The OpenAPI document is true: schemathesis asks a live server what it allows and forbids.

Examples are few and always the same ones. Each answer must be one that the document names, of the
form that it names, and whatever it forbids must be refused.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_server.app import create_app
from cloud_server.routes import examples
from cloud_server.routes.openapi import document
from cloud_server.routes.query import KeptImage
from cloud_server.routes.schemas import ChatCompletion, ChatRequest
from cloud_server.settings import load_settings
from shared.schemas import Health, ModelInfo, ModelList, QueryResponse

schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = 8
POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
NARROWER = (
    *("/v1/query", "/v1/chat/completions"),
    *("/playground/pictures", "/playground/enhancements"),
)
"""These take less than a schema can say: what fits a context, a picture among messages, PNG, the
cells of a picture."""
# Nothing that an operation without a body takes can be wrong in itself: ids are just unknown.
OPERATIONS = [
    f"{method} {path}"
    for path, methods in document(create_app(load_settings()))["paths"].items()
    for method in methods
]
CASES = [(name, POSITIVE) for name in OPERATIONS] + [
    (name, NEGATIVE) for name in OPERATIONS if name.startswith("post ")
]


@pytest.fixture(scope="module")
def schema(server_url: str, streams: list[bytes]) -> Any:
    """The document of a live server; where it asks for bytes, it gets real streams."""
    schemathesis.openapi.format("binary", st.sampled_from(streams))
    schemathesis.openapi.media_type("application/vnd.cotam", st.sampled_from(streams))
    return schemathesis.openapi.from_url(f"{server_url}/openapi.json")


@pytest.mark.parametrize(("operation", "mode"), CASES, ids=lambda value: str(value))
def test_every_operation_keeps_its_word(schema: Any, operation: str, mode: Any) -> None:
    method, path = operation.split(" ")
    cases = schema[path][method.upper()].as_strategy(generation_mode=mode)
    acceptance = schemathesis.checks.CHECKS.get_one("positive_data_acceptance")
    excluded = [acceptance] if path in NARROWER else []

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def keeps_its_word(case: Any) -> None:
        case.call_and_validate(timeout=300, excluded_checks=excluded)

    keeps_its_word()


def test_examples_are_of_the_form_that_they_show() -> None:
    for example, model in (
        (examples.HEALTH, Health),
        (examples.MODEL, ModelInfo),
        (examples.MODELS, ModelList),
        (examples.ANSWER, QueryResponse),
        (examples.KEPT_IMAGE, KeptImage),
        (examples.CHAT_ANSWER, ChatCompletion),
    ):
        assert model.model_validate(example, strict=True).model_dump() == example
    ChatRequest.model_validate(examples.CHAT_REQUEST, strict=True)


def test_every_answer_and_every_body_is_described(server_url: str) -> None:
    document = httpx.get(f"{server_url}/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], path
            problems = [
                content["application/problem+json"]["example"]["code"]
                for response in operation["responses"].values()
                if "application/problem+json" in (content := response.get("content", {}))
            ]
            assert problems, path
            if method == "post":
                assert operation["requestBody"]["content"], path
