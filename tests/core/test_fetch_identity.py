"""Who may share a call: everything that a provider is told must be equal, but for what names one pod of many."""

import json

import pytest

from sscsi.core.fetch_identity import fetch_identity, may_share
from sscsi.core.provider_class import SecretProviderClass

TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"


def make_class(**changes: object) -> SecretProviderClass:
    values: dict[str, object] = {
        "namespace": "shop",
        "name": "app",
        "uid": "uid-1",
        "generation": 1,
        "annotations": {},
        "provider": "vault",
        "parameters": {"objects": "a"},
        "secret_objects": (),
        **changes,
    }
    return SecretProviderClass(**values)  # type: ignore[arg-type]


def tokens(**by_audience: str) -> str:
    return json.dumps({name: {"token": token} for name, token in by_audience.items()})


def identity(
    provider_class: SecretProviderClass | None = None,
    *,
    account: str = "web",
    context: dict[str, str] | None = None,
    token_text: str = "",
    secrets: dict[str, str] | None = None,
) -> str:
    return fetch_identity(
        provider_class or make_class(),
        service_account=account,
        volume_context=context or {"secretProviderClass": "app"},
        tokens=token_text,
        secrets=secrets or {},
    )


class TestEqual:
    def test_what_names_the_pod_and_the_value_of_tokens_do_not_count(self) -> None:
        pods = [
            identity(
                context={
                    "secretProviderClass": "app",
                    "csi.storage.k8s.io/pod.name": f"web-{number}",
                    "csi.storage.k8s.io/pod.uid": f"uid-{number}",
                    TOKENS: tokens(vault=f"token-{number}"),
                },
                token_text=tokens(vault=f"token-{number}"),
                secrets={"password": "same", TOKENS: tokens(vault=f"token-{number}")},
            )
            for number in range(3)
        ]
        assert len(set(pods)) == 1
        assert pods[0]


class TestDifferent:
    @pytest.mark.parametrize(
        "other",
        [
            identity(make_class(namespace="bank")),
            identity(make_class(name="other")),
            identity(make_class(uid="uid-2")),
            identity(make_class(generation=2)),
            identity(make_class(provider="azure")),
            identity(make_class(parameters={"objects": "b"})),
            identity(account="admin"),
            identity(context={"secretProviderClass": "app", "role": "admin"}),
            identity(context={"secretProviderClass": "app", "csi.storage.k8s.io/pod.namespace": "x"}),
            identity(token_text=tokens(vault="t")),
            identity(token_text=tokens(azure="t")),
            identity(token_text=tokens(vault="t", azure="t")),
            identity(secrets={"password": "mine"}),
            identity(secrets={"password": "yours"}),
        ],
    )
    def test_anything_else_does(self, other: str) -> None:
        assert other
        assert other != identity()

    def test_all_of_them_are_different_from_one_another(self) -> None:
        assert identity(secrets={"a": "b,c"}) != identity(secrets={"a,b": "c"})
        assert identity(secrets={"password": "mine"}) != identity(secrets={"password": "yours"})
        assert identity(token_text=tokens(vault="t")) != identity(token_text=tokens(azure="t"))

    @pytest.mark.parametrize("text", ["{", "[]", "null", "[" * 100_000, "7"])
    def test_without_an_account_or_with_tokens_of_nonsense_nobody_is_equal(self, text: str) -> None:
        assert identity(account="") == ""
        assert identity(token_text=text) == ""


class TestLeave:
    @pytest.mark.parametrize(
        ("annotation", "providers", "may"),
        [
            ("", frozenset(), False),
            ("true", frozenset(), True),
            ("", frozenset({"vault"}), True),
            ("false", frozenset({"vault"}), False),
            ("yes", frozenset(), False),
            ("True", frozenset(), False),
            ("", frozenset({"azure"}), False),
        ],
    )
    def test_the_class_asks_or_the_provider_is_listed(
        self, annotation: str, providers: frozenset[str], may: bool
    ) -> None:
        annotations = {"secrets-store.csi.k8s.io/share-provider-calls": annotation} if annotation else {}
        assert may_share(make_class(annotations=annotations), providers) is may
