"""What the registrar counts, from where the registration stands."""

from sidecars.registrar.standing import Standing
from sscsi.core.prometheus import Family, counter


def registration_families(standing: Standing) -> list[Family]:
    """Kubelet's answers in the life of this process; whether the last one holds is `sscsi_kubelet_registered`."""
    return [
        counter(
            "sscsi_registrations_total",
            "Kubelet's answers to the registration of the driver.",
            [
                ({"result": "confirmed"}, standing.registrations),
                ({"result": "refused"}, standing.refusals),
            ],
        )
    ]
