"""Checks and converts the URLs of a broker and a ledger."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from msgspec import Struct

from onward.url import instead_of, split

SOCKET = "redis+socket"
SENTINEL = "sentinel"
SENTINELS = (SENTINEL, "redis+sentinel")
REDIS = ("redis", "rediss", SOCKET, *SENTINELS)
"""The URL schemes of Redis."""

_PORT_OF_SENTINEL = 26379
_PARAMETERS = ("master_name", "sentinel_username", "sentinel_password")

CLUSTER = (
    "Redis Cluster is not supported, because it would spread the keys of one call over several "
    "nodes: use a single Redis, or one behind Sentinel (sentinel://)"
)


class Sentinels(Struct, frozen=True):
    """A Redis behind Sentinels, which know its current address.

    Args:
        hosts: The Sentinels, as host and port.
        primary: The Sentinels' name for the Redis.
        database: The number of the database in it.
        username: The user of the Redis, if it has users.
        password: The user's password.
        login: The `username` and `password` of the Sentinels themselves, if they have any.
    """

    hosts: tuple[tuple[str, int], ...]
    primary: str
    database: int
    username: str | None
    password: str | None
    login: dict[str, str]


def check_url(name: str, url: str, options: object = None) -> str:
    """Checks the URL of a broker or a ledger, and completes it from the transport options.

    Args:
        name: The name of the setting.
        url: The URL. It may contain a password, which no error shows.
        options: Celery's transport options, which may complete a URL of Sentinels.

    Raises:
        ValueError: If the URL is not supported. The text says what to do instead.
    """
    schemes = [_scheme(each) for each in url.split(";")]
    scheme = schemes[0]
    if "cluster" in scheme:
        raise ValueError(f"{name}: {CLUSTER}")
    if scheme in SENTINELS:
        url = _with_options(url, options)
        try:
            parse_sentinels(url)
        except ValueError as problem:
            raise ValueError(f"{name}: {problem}") from None
        return url
    if len(schemes) > 1 and not scheme.startswith(("amqp", "pyamqp")):
        raise ValueError(
            f"{name} must be a single Redis: to fail over from one to another, use Sentinel and "
            "write sentinel://"
        )
    if set(schemes) != {scheme}:
        raise ValueError(
            f"{name}: all brokers must have the same scheme, as in {scheme}://a;{scheme}://b"
        )
    if scheme == SOCKET and urlsplit(url).netloc:
        raise ValueError(f"{name} needs three slashes before a path: {SOCKET}:///run/redis.sock")
    return url


def is_redis(url: str) -> bool:
    """Whether a URL names a Redis, also over TLS, by its socket or behind Sentinels."""
    return _scheme(url) in REDIS


def is_sentinel(url: str) -> bool:
    """Whether a URL names Sentinels."""
    return _scheme(url) in SENTINELS


def parse_sentinels(url: str) -> Sentinels:
    """Parses a URL of Sentinels; raises ValueError, whose text shows no password."""
    hosts, _, query = url.partition("?")
    pieces = [split(each) for each in hosts.split(";")]
    if any(each.scheme not in SENTINELS or not each.hostname for each in pieces):
        raise ValueError("write each Sentinel as sentinel://host:26379, with ; between them")
    said = dict(parse_qsl(query))
    if unknown := said.keys() - {*_PARAMETERS}:
        raise ValueError(f"there is no parameter {instead_of(min(unknown), _PARAMETERS)}")
    if "master_name" not in said:
        raise ValueError("the Sentinels' name for the Redis is missing: add ?master_name=mymaster")
    if not all(re.fullmatch(r"/?\d*", each.path) for each in pieces):
        raise ValueError("the path behind the Sentinels must be a database number, such as /0")
    numbers = [each.path.strip("/") for each in pieces]
    with_login = next((each for each in pieces if each.password is not None), pieces[0])
    return Sentinels(
        tuple((str(each.hostname), each.port or _PORT_OF_SENTINEL) for each in pieces),
        said.pop("master_name"),
        int(next(filter(None, numbers), "0")),
        unquote(with_login.username) if with_login.username else None,
        unquote(with_login.password) if with_login.password else None,
        {name.removeprefix("sentinel_"): text for name, text in said.items()},
    )


def redis_url(url: str) -> str:
    """Converts the URL of a Redis into redis-py's form."""
    parts = urlsplit(url)
    if parts.scheme != SOCKET:
        return url
    query = parse_qs(parts.query)
    query["db"] = query.pop("virtual_host", ["0"])
    return f"unix://{parts.path}?{urlencode(query, doseq=True)}"


def celery_url(url: str) -> str:
    """Converts the URL of a broker into Celery's form, which takes only one Sentinel."""
    if not is_sentinel(url):
        return url
    at = parse_sentinels(url)
    host, port = at.hosts[0]
    return f"{SENTINEL}://{f'[{host}]' if ':' in host else host}:{port}/{at.database}"


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def _with_options(url: str, options: object) -> str:
    """Adds to a URL of Sentinels what it lacks and Celery's transport options have."""
    if not isinstance(options, dict):
        return url
    login = options.get("sentinel_kwargs") or {}
    said = {
        "master_name": options.get("master_name"),
        **{f"sentinel_{each}": login.get(each) for each in ("username", "password")},
    }
    missing = {name: text for name, text in said.items() if text and f"{name}=" not in url}
    return f"{url}{'&' if '?' in url else '?'}{urlencode(missing)}" if missing else url
