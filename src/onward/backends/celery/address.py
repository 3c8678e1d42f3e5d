"""The addresses that a broker and a ledger may have, and which are refused."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from msgspec import Struct

from onward.url import instead_of, split

SOCKET = "redis+socket"
SENTINEL = "sentinel"
SENTINELS = (SENTINEL, "redis+sentinel")
REDIS = ("redis", "rediss", SOCKET, *SENTINELS)
"""The schemes of a Redis."""

_PORT_OF_SENTINEL = 26379
_PARAMETERS = ("master_name", "sentinel_username", "sentinel_password")

CLUSTER = (
    "Redis Cluster is not supported, because it would spread the keys of one call over several "
    "nodes: give a single Redis, or one behind Sentinel (sentinel://)"
)


class Sentinels(Struct, frozen=True):
    """A Redis whose address the Sentinels that watch over it know.

    Args:
        hosts: The Sentinels, as host and port.
        primary: The name that they know the Redis by.
        database: The number of its database.
        username: The user there, if it has users.
        password: The user's password.
        login: The Sentinels' own `username` and `password`, if they have any.
    """

    hosts: tuple[tuple[str, int], ...]
    primary: str
    database: int
    username: str | None
    password: str | None
    login: dict[str, str]


def checked(name: str, url: str, options: object = None) -> str:
    """Checks the URL of a broker or a ledger, and completes it from the transport options.

    Args:
        name: The setting.
        url: What it says. It may have a password, which no error shows.
        options: The transport options of Celery, which may have what a URL of Sentinels lacks.

    Raises:
        ValueError: If it is not supported; the text says what to do instead.
    """
    schemes = [_scheme(each) for each in url.split(";")]
    scheme = schemes[0]
    if "cluster" in scheme:
        raise ValueError(f"{name}: {CLUSTER}")
    if scheme in SENTINELS:
        url = _with_options(url, options)
        try:
            sentinels_at(url)
        except ValueError as problem:
            raise ValueError(f"{name}: {problem}") from None
        return url
    if len(schemes) > 1 and not scheme.startswith(("amqp", "pyamqp")):
        raise ValueError(
            f"{name}: there is one Redis, and not several: for one that takes over when another "
            "dies, let Sentinel watch over them and write sentinel://"
        )
    if set(schemes) != {scheme}:
        raise ValueError(f"{name}: all brokers are of one scheme, as in {scheme}://a;{scheme}://b")
    if scheme == SOCKET and urlsplit(url).netloc:
        raise ValueError(f"{name} has three slashes before a path: {SOCKET}:///run/redis.sock")
    return url


def is_redis(url: str) -> bool:
    """Whether what is at a URL is a Redis, however it is reached."""
    return _scheme(url) in REDIS


def is_sentinel(url: str) -> bool:
    """Whether a URL names Sentinels."""
    return _scheme(url) in SENTINELS


def sentinels_at(url: str) -> Sentinels:
    """What a URL of Sentinels says; raises ValueError, of which the text shows no password."""
    hosts, _, query = url.partition("?")
    pieces = [split(each) for each in hosts.split(";")]
    if any(each.scheme not in SENTINELS or not each.hostname for each in pieces):
        raise ValueError("each Sentinel is as in sentinel://host:26379, with ; between them")
    said = dict(parse_qsl(query))
    if unknown := said.keys() - {*_PARAMETERS}:
        raise ValueError(f"there is no parameter {instead_of(min(unknown), _PARAMETERS)}")
    if "master_name" not in said:
        raise ValueError(
            "it does not say by which name the Sentinels know the Redis: add ?master_name=mymaster"
        )
    if not all(re.fullmatch(r"/?\d*", each.path) for each in pieces):
        raise ValueError("what follows the Sentinels is the number of a database, as in /0")
    numbers = [each.path.strip("/") for each in pieces]
    whose = next((each for each in pieces if each.password is not None), pieces[0])
    return Sentinels(
        tuple((str(each.hostname), each.port or _PORT_OF_SENTINEL) for each in pieces),
        said.pop("master_name"),
        int(next(filter(None, numbers), "0")),
        unquote(whose.username) if whose.username else None,
        unquote(whose.password) if whose.password else None,
        {name.removeprefix("sentinel_"): text for name, text in said.items()},
    )


def of_redis(url: str) -> str:
    """The URL of a Redis as redis-py has it."""
    parts = urlsplit(url)
    if parts.scheme != SOCKET:
        return url
    query = parse_qs(parts.query)
    query["db"] = query.pop("virtual_host", ["0"])
    return f"unix://{parts.path}?{urlencode(query, doseq=True)}"


def of_celery(url: str) -> str:
    """The URL of a broker as Celery has it, which takes one host for Sentinels."""
    if not is_sentinel(url):
        return url
    at = sentinels_at(url)
    host, port = at.hosts[0]
    return f"{SENTINEL}://{f'[{host}]' if ':' in host else host}:{port}/{at.database}"


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def _with_options(url: str, options: object) -> str:
    """A URL of Sentinels to which comes what Celery's transport options say and it does not."""
    if not isinstance(options, dict):
        return url
    login = options.get("sentinel_kwargs") or {}
    said = {
        "master_name": options.get("master_name"),
        **{f"sentinel_{each}": login.get(each) for each in ("username", "password")},
    }
    missing = {name: text for name, text in said.items() if text and f"{name}=" not in url}
    return f"{url}{'&' if '?' in url else '?'}{urlencode(missing)}" if missing else url
