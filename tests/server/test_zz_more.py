"""The API against its OpenAPI document: whatever is asked, what comes back is one of the answers that the document names."""

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from medclip.server.app import make_app
from medclip.server.audit import Audit
from tests.server.conftest import TOKEN, Served

ROUTES = [
    "POST /api/v1/query", "POST /api/v1/record", "POST /api/v1/explain", "GET /api/v1/similar", "GET /api/v1/cases",
    "GET /api/v1/case", "GET /api/v1/values", "GET /api/v1/info",
]  # fmt: skip
EXAMPLES = 120  # of each route and kind
HEADERS = {"authorization": f"Bearer {TOKEN}"}
# Whether what breaks the document is refused is left out: a form's field may be a text or a file, and any text may be one.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


class KeptOpen(Audit):
    """A log that outlives the application, which schemathesis starts and ends for each thing that it asks."""

    def close(self) -> None:
        """Not yet."""


@pytest.fixture(scope="module")
def document(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Any:
    audit = KeptOpen(tmp_path_factory.mktemp("log") / "audit.jsonl")
    app = make_app(served.context, audit, frozenset({"testserver"}))  # as schemathesis calls it
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=HEADERS)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("route", ROUTES)
def test_every_answer_is_one_that_is_declared(document: Any, route: str, mode: GenerationMode) -> None:
    method, path = route.split()
    operation = document[path][method]

    @seeded(7)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def asked(case: Any) -> None:
        case.call_and_validate(headers=HEADERS, checks=CHECKS)

    try:
        asked()
    except Unsatisfiable:
        assert (mode, route) == (GenerationMode.NEGATIVE, "GET /api/v1/info")  # nothing can be asked of it wrongly


def test_every_route_declares_what_else_it_may_say(served: Served) -> None:
    declared = served.program().get("/api/v1/openapi.json").json()
    assert sorted(ROUTES) == sorted(f"{how.upper()} {path}" for path, told in declared["paths"].items() for how in told)
    for path, methods in declared["paths"].items():
        for method, told in methods.items():
            assert {"200", "401", "403", "421", "422", "500", "503"} <= set(told["responses"]), (method, path)
            for status in set(told["responses"]) - {"200"}:
                [kind] = told["responses"][status]["content"].values()
                assert kind["schema"]["$ref"].endswith("/Problem"), (method, path, status)
    assert json.dumps(declared).count("http://") == 0  # it points nowhere else
