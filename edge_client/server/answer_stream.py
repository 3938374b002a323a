"""Server-sent events of an answer that grows, as `stream=true` gives them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from pydantic import ValidationError

from shared.errors import UpstreamError
from shared.schemas import Problem, QueryResponse, error_from


@dataclass
class AnswerReader:
    """Takes the lines of a response, gives pieces of the answer and, last, the whole."""

    _name: str = ""
    _data: list[str] = field(default_factory=list)
    ended: bool = False

    def feed(self, line: str) -> str | QueryResponse | None:
        """A piece of text, the whole answer, or None where no event ended with this line.

        Raises the error that the server reports in the midst of an answer.
        """
        if line:
            key, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if key == "event":
                self._name = value
            elif key == "data":
                self._data.append(value)
            return None
        name, data = self._name, "\n".join(self._data)
        self._name, self._data = "", []
        try:
            if name == "text":
                return str(json.loads(data)["text"])
            if name == "done":
                self.ended = True
                return QueryResponse.model_validate_json(data)
            if name == "error":
                raise error_from(Problem.model_validate_json(data))
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            raise UpstreamError(f"the server sent an event of another form: {name}") from error
        return None

    def finish(self) -> None:
        """Raises UpstreamError where the stream ended before its answer did."""
        if not self.ended:
            raise UpstreamError("the answer broke off", hint="ask again")
