"""Problem documents of the API as the errors that the same verb raises on the hub's machine."""

from collections.abc import Callable, Mapping

import msgspec

from acmehub.admin.access.errors import InUse, Invalid, NotFound, Refused, Taken
from acmehub.admin.resources.document import InvalidFile
from acmehub.api.problems import PROBLEM_JSON, ProblemBody
from acmehub.cli.shared.exit_status import Exit, Failed
from acmehub.http_client.messages import HttpResponse
from acmehub.models.problems import Problem, ProblemType, Subproblem
from acmehub.ports.authority import UpstreamError
from acmehub.ports.store import StoreUnavailable
from acmehub.rules.permissions import Forbidden


def media_of(response: HttpResponse) -> str:
    """The media type of a response, without parameters."""
    return response.header("Content-Type").partition(";")[0].strip().lower()


def problem_of(response: HttpResponse) -> ProblemBody | None:
    """The problem document in a response; None when it has none, so that it is not the API that answers."""
    if media_of(response) != PROBLEM_JSON:
        return None
    try:
        return msgspec.json.decode(response.body, type=ProblemBody)
    except msgspec.DecodeError:
        return None


def error_of(problem: ProblemBody) -> Exception:
    """The error that a problem stands for; `Failed` for one that no verb raises."""
    kind = next((item for item in ProblemType if item.urn == problem.acme), None)
    if kind is not None:
        parts = [Subproblem(problem.acme, item.message.partition(": ")[2]) for item in problem.errors]
        return Problem(kind, problem.detail, subproblems=parts)
    made = _ERRORS.get(name_of(problem))
    if made is not None:
        return made(problem)
    return Failed(problem.detail, Exit.USAGE if problem.status in (400, 422) else Exit.FAILED)


def name_of(problem: ProblemBody) -> str:
    """The last part of a problem's type: `taken`."""
    return problem.type.rpartition("#")[2]


def _invalid(problem: ProblemBody) -> Exception:
    """`Invalid` for one field; for several, or none, what a resources file ends with: a line each."""
    if len(problem.errors) == 1 and problem.errors[0].field:
        return Invalid(problem.errors[0].field, problem.errors[0].message)
    lines = [": ".join(filter(None, (item.field, item.message))) for item in problem.errors]
    return InvalidFile(tuple(lines or [problem.detail]))


_ERRORS: Mapping[str, Callable[[ProblemBody], Exception]] = {
    "forbidden": lambda problem: Forbidden(problem.detail),
    "not-found": lambda problem: NotFound(problem.detail),
    "taken": lambda problem: Taken(problem.detail),
    "in-use": lambda problem: InUse(problem.detail, problem.users),
    "refused": lambda problem: Refused(problem.detail),
    "invalid": _invalid,
    "upstream": lambda problem: UpstreamError(problem.detail, server=problem.server),
    "storage-unavailable": lambda problem: StoreUnavailable(problem.detail),
}
