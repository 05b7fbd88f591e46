"""What users may write on their own objects to steer the driver: annotations, and attributes of a pod's volume."""

_PREFIX = "secrets-store.csi.k8s.io/"
INTERVAL = f"{_PREFIX}rotation-poll-interval"
"""On a SecretProviderClass: how often its volumes are fetched again, as a Go duration; in place of the flag."""
SHARED_CALLS = f"{_PREFIX}share-provider-calls"
"""On a SecretProviderClass, "true": pods of equal identity may share one call to the provider."""
REFRESH_AT = f"{_PREFIX}refresh-at"
"""On a SecretProviderClass or a pod: a new value, a time by custom, has the content fetched now."""
MAX_ASK = 256
"""Of the value of REFRESH_AT, characters that count."""
INTERVAL_ATTRIBUTE = "rotationPollInterval"
"""In `volumeAttributes` of a pod's volume: as INTERVAL, for this volume, and before it."""
