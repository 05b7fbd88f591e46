"""The requests that an API server was sent, from its audit log."""

import dataclasses
import json
from datetime import datetime
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. `at` is when it came, in seconds since the epoch, as time.time() has them."""

    at: float
    user: str
    verb: str
    resource: str
    """As in RBAC: `pods`, `serviceaccounts/token`; nothing for a path without one, such as /readyz."""
    namespace: str
    name: str
    uri: str
    user_agent: str
    code: int | None
    """Of the answer; None until there is one. A watch has it from its start."""


def read_requests(audit_log: str) -> list[Request]:
    """All of them, in the order in which they came. What has its answer is there; its code may come later."""
    with open(audit_log, "rb") as file:
        lines = file.readlines()
    # The server tells of each request at several stages, the last of which knows most.
    last_stages: dict[str, dict[str, Any]] = {}
    for line in lines:
        # The last line may be half-written.
        if line.endswith(b"\n"):
            event = json.loads(line)
            last_stages[event["auditID"]] = event
    return [_request(event) for event in last_stages.values()]


def _request(event: dict[str, Any]) -> Request:
    target = event.get("objectRef", {})
    resource = target.get("resource", "")
    if subresource := target.get("subresource"):
        resource += f"/{subresource}"
    return Request(
        at=datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
        user=event.get("user", {}).get("username", ""),
        verb=event["verb"],
        resource=resource,
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        uri=event["requestURI"],
        user_agent=event.get("userAgent", ""),
        code=event.get("responseStatus", {}).get("code"),
    )
