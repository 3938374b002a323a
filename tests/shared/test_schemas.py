"""What travels as JSON: nothing is lost, newer fields are ignored, wrong ones refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from shared.errors import BundleUnknown
from shared.schemas import Health, ModelInfo, ModelList, Problem, QueryResponse, problem_of

ANSWER: dict[str, Any] = {
    "id": "r-1",
    "answer": "three",
    "model": "tiny",
    "view": "adapter",
    "image": {"width": 256, "height": 192, "bytes": 900, "bpp": 0.15, "codec": "01020304"},
    "images": [],
    "usage": {"prompt_tokens": 270, "completion_tokens": 2},
    "timings_ms": {"decode": 1.0, "vision": 2.0, "generate": 3.0, "total": 6.0},
    "confidence": None,
    "need": None,
    "image_id": "",
}


def test_an_answer_comes_back() -> None:
    response = QueryResponse.model_validate(ANSWER)
    assert json.loads(response.model_dump_json()) == ANSWER
    assert QueryResponse.model_validate_json(response.model_dump_json()) == response


def test_fields_of_a_newer_server_are_ignored() -> None:
    newer = {**ANSWER, "mood": "good", "usage": {**ANSWER["usage"], "cached_tokens": 1}}
    assert QueryResponse.model_validate(newer) == QueryResponse.model_validate(ANSWER)


@pytest.mark.parametrize(
    "changed", [{"answer": None}, {"view": "thumbnail"}, {"image": {}}, {"usage": "many"}]
)
def test_an_answer_of_another_form_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        QueryResponse.model_validate({**ANSWER, **changed})


def test_a_list_of_models_comes_back() -> None:
    models = ModelList(data=[ModelInfo(id="tiny", view="adapter", bundles=["01020304"])])
    raw = json.loads(models.model_dump_json())
    assert raw["object"] == "list"
    assert raw["data"][0]["object"] == "model"
    assert ModelList.model_validate(raw) == models


def test_health_has_three_words() -> None:
    for word in ("ok", "starting", "draining"):
        assert Health.model_validate({"status": word}).status == word
    with pytest.raises(ValidationError):
        Health.model_validate({"status": "tired"})


def test_a_problem_reads_like_a_sentence() -> None:
    problem = problem_of(BundleUnknown("no such bundle", hint="encode again"), "r-2")
    assert problem.title == "Bundle unknown"
    assert (problem.status, problem.detail, problem.hint) == (409, "no such bundle", "encode again")
    assert problem.instance == "r-2"
    assert Problem.model_validate({**problem.model_dump(), "extra": 1}) == problem
