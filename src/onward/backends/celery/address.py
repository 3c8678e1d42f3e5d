"""Where a broker and a ledger may be: what kombu and redis-py both take, and what is refused."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urlsplit

SOCKET = "redis+socket"

_REFUSED = {
    "sentinel": "a Redis behind Sentinel is not supported: give the URL of a proxy that follows "
    "its primary, as HAProxy does",
    "cluster": "a Redis Cluster is not supported, as what is written of a call at once is on "
    "several of its nodes: give a Redis that is none",
}


def check(name: str, url: str) -> None:
    """Raises ValueError for what is not supported, and says what to do instead.

    Args:
        name: The setting.
        url: What it says, which may have a password in it: the text shows nothing of it.
    """
    scheme = urlsplit(url.partition(";")[0]).scheme
    for word, why in _REFUSED.items():
        if word in scheme:
            raise ValueError(f"{name}: {why}")
    if ";" in url and not scheme.startswith(("amqp", "pyamqp")):
        raise ValueError(
            f"{name}: there is one Redis, and not several: give the URL of a proxy before them"
        )
    if scheme == SOCKET and urlsplit(url).netloc:
        raise ValueError(f"{name} has three slashes before a path: {SOCKET}:///run/redis.sock")


def of_redis(url: str) -> str:
    """The URL of a Redis as redis-py has it."""
    parts = urlsplit(url)
    if parts.scheme != SOCKET:
        return url
    query = parse_qs(parts.query)
    query["db"] = query.pop("virtual_host", ["0"])
    return f"unix://{parts.path}?{urlencode(query, doseq=True)}"
