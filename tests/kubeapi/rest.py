"""The API in its own JSON: what a test asks for beside the program under test."""

import json
from collections.abc import Sequence
from typing import Any

import urllib3

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
# How kubectl asks for a list, to print it.
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"

Object = dict[str, Any]


class RestError(Exception):
    """The API server has refused; `code` says how."""

    def __init__(self, what: str, code: int, answer: str) -> None:
        super().__init__(f"{what}: {code} {answer}")
        self.code = code


class Rest:
    """One user of the API. Paths are the API's: /api/v1/namespaces/NAME/pods; they may have a query. Threads may
    share it.
    """

    def __init__(self, pool: urllib3.PoolManager, url: str, token: str) -> None:
        self._pool = pool
        self._url = url
        self._token = token

    def get(self, path: str, *, accept: str = JSON) -> Object:
        return self._call("GET", path, accept=accept)

    def create(self, path: str, document: Object) -> Object:
        return self._call("POST", path, document)

    def replace(self, path: str, document: Object) -> Object:
        return self._call("PUT", path, document)

    def patch(self, path: str, patch: object, *, content_type: str = MERGE_PATCH) -> Object:
        return self._call("PATCH", path, patch, content_type=content_type)

    def delete(self, path: str, options: Object | None = None) -> Object:
        """One object, or a collection."""
        return self._call("DELETE", path, options)

    def list(self, path: str) -> Sequence[Object]:
        """The items of a collection."""
        items: Sequence[Object] = self.get(path)["items"]
        return items

    def _call(
        self, method: str, path: str, body: object = None, *, content_type: str = JSON, accept: str = JSON
    ) -> Object:
        answer = self._pool.request(
            method,
            self._url + path,
            body=None if body is None else json.dumps(body),
            headers={
                "accept": accept,
                "authorization": f"Bearer {self._token}",
                "content-type": content_type,
            },
        )
        if not 200 <= answer.status < 300:
            # A Status, or a line of text where nothing is served.
            raise RestError(f"{method} {path}", answer.status, answer.data.decode())
        document: Object = json.loads(answer.data)
        return document
