"""Manifests of deploy/ in an API server."""

import os

import yaml

from tests.kubeapi.rest import APPLY_PATCH, Object, Rest, RestError
from tests.support.checkout import ROOT
from tests.support.waiting import wait_until

DEPLOY = os.path.join(ROOT, "deploy")
CRDS = os.path.join(DEPLOY, "crds")
RBAC = os.path.join(DEPLOY, "rbac.yaml")
RBAC_SYNCING = os.path.join(DEPLOY, "rbac-secretprovidersyncing.yaml")
RBAC_VIEWERS = os.path.join(DEPLOY, "rbac-viewers.yaml")


def documents(path: str) -> list[Object]:
    """The objects in a file, or in all files of a directory."""
    if os.path.isdir(path):
        return [
            document for name in sorted(os.listdir(path)) for document in documents(os.path.join(path, name))
        ]
    with open(path, encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document]


def apply(client: Rest, document: Object) -> None:
    """Make the object what `document` says; a CRD is served when this returns."""
    path = path_of(client, document)
    client.patch(f"{path}?fieldManager=tests&force=true", document, content_type=APPLY_PATCH)
    if document["kind"] == "CustomResourceDefinition":
        wait_until(lambda: is_served(client, document), f"{path} is served")


def path_of(client: Rest, document: Object) -> str:
    """Where the API has the object."""
    version, metadata = document["apiVersion"], document["metadata"]
    prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
    resources = client.get(prefix)["resources"]
    (resource,) = (
        resource
        for resource in resources
        if resource["kind"] == document["kind"] and "/" not in resource["name"]
    )
    place = f"/namespaces/{metadata['namespace']}" if resource["namespaced"] else ""
    return f"{prefix}{place}/{resource['name']}/{metadata['name']}"


def is_served(client: Rest, crd: Object) -> bool:
    """Whether objects of the definition's kind can be listed; after a start the API server says 429 for a moment."""
    spec = crd["spec"]
    try:
        for version in spec["versions"]:
            client.get(f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}?limit=1")
    except RestError as error:
        if error.code in {404, 429}:
            return False
        raise
    return True
