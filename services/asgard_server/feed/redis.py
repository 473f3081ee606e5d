"""The bell between replicas: `Feed` over Redis pub/sub.

A message is a topic (its channel) and a revision (its payload), nothing else. While Redis is
away, this process goes on ringing its own listeners, and others find changes by looking.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from asgard_server.feed.memory import MemoryFeed
from asgard_server.feed.metrics import BELL_DELAY, BELL_UP

# How long a connection may take, and how often a silent one is asked whether it is alive.
_TIMEOUT_S = 3.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_FORGOTTEN_ECHOES = 1_024
# What is rung within this of the time before goes with what else is rung by then: to send a
# bell and to hear it come back costs as much as a tenth of what it tells of.
_GAP_S = 0.02
# The same where Redis says that nobody has heard it: who begins to listen looks by himself.
_UNHEARD_GAP_S = 0.2

# RFC 3986, appendix B. Not urlsplit: of several hosts it takes no IPv6 address but the first, in
# newer Pythons.
_URL = re.compile(r"([^:/?#]+)://([^/?#]*)([^?#]*)(?:\?([^#]*))?")

log = structlog.get_logger()


class _Place(NamedTuple):
    """One way to reach Redis, and what to call it without its password.

    `counts`: whether it knows of all who listen. A node of a cluster knows of its own alone.
    """

    name: str
    connect: Callable[[], tuple[Redis, list[Redis]]]
    counts: bool = True


class RedisFeed:
    """Rings whoever listens to the same Redis with the same `prefix`.

    `url`: redis://, rediss:// (TLS) or unix://, as redis-py takes them; with several nodes,
    redis+sentinel://[user:password@]host:port,host:port/MASTER[/DB] and
    redis+cluster://[user:password@]host:port,host:port (rediss+... for TLS). Raises
    `ValueError` for any other. Nothing raises because Redis is away: it is logged once, and
    tried again until it is back. To be used from one event loop; `aclose` ends it.
    """

    def __init__(self, url: str, *, prefix: str = "asgard") -> None:
        self._places = places(url)
        self._channels = f"{prefix}:bell:"
        self._local = MemoryFeed(measured=False)
        self._delays = BELL_DELAY.series()
        BELL_UP.set(0)
        self._newest: dict[str, int] = {}
        self._unsent: dict[str, int] = {}
        self._echoes: deque[tuple[str, int]] = deque(maxlen=_FORGOTTEN_ECHOES)
        self._sent_at: deque[float] = deque(maxlen=_FORGOTTEN_ECHOES)  # of each echo
        self._sending = asyncio.Event()
        self._tried = asyncio.Event()
        self._listening = 0
        self._pubsub: PubSub | None = None
        # Asked for at most once until it is given up: so each confirmation is of the last request.
        self._asked = False
        self._subscribed = asyncio.Event()
        self._missed = False
        self._problem = ""
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def problem(self) -> str:
        """Why Redis cannot be reached at the moment; empty while it can."""
        return self._problem

    async def ring(self, topic: str, revision: int) -> None:
        """Say that `topic` has reached `revision`: here at once, elsewhere as Redis can."""
        await self._ring_here(topic, revision)
        self._unsent[topic] = revision  # what is behind it is no news any more
        self._sending.set()
        self.start()

    @asynccontextmanager
    async def listen(self, topic: str) -> AsyncIterator[AsyncIterator[int]]:
        """Yield revisions of `topic` rung after entering; coalesced to the newest."""
        self.start()
        self._listening += 1
        try:
            async with self._local.listen(topic) as bells:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TIMEOUT_S):
                        await self._tried.wait()
                        await self._subscribe()
                yield bells
        finally:
            self._listening -= 1

    async def _subscribe(self) -> None:
        """Have Redis tell what others ring, and wait until it does; while it is away, do not."""
        if self._pubsub is not None and not self._asked:
            self._asked = True
            with suppress(RedisError, OSError):
                await self._pubsub.psubscribe(f"{self._channels}*")
        if not self._problem:
            await self._subscribed.wait()

    async def _unsubscribe(self, heard: PubSub) -> None:
        if self._subscribed.is_set() and not self._listening:
            self._asked = False
            self._subscribed.clear()
            await heard.punsubscribe(f"{self._channels}*")

    async def aclose(self) -> None:
        """Leave Redis. What is rung afterwards is heard here only."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _ring_here(self, topic: str, revision: int) -> None:
        self._newest[topic] = revision
        await self._local.ring(topic, revision)

    def start(self) -> None:
        """Reach for Redis now: `problem` is then true before anybody rings or listens."""
        if self._task is None and not self._closed:
            # It outlives the request that happens to be the first to need it.
            self._task = asyncio.create_task(self._run(), name="bell", context=Context())

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        number = 0
        while True:
            place = self._places[number % len(self._places)]
            number += 1
            client, others = place.connect()
            try:
                await self._serve(client, place)
            except (RedisError, OSError, TimeoutError) as error:
                if self._problem == "":
                    pause = _FIRST_PAUSE_S
                    log.warning(
                        "bell unreachable: changes by other replicas are found by looking",
                        redis=place.name,
                        problem=str(error),
                    )
                self._problem = f"{place.name}: {error}"
                BELL_UP.set(0)
            finally:
                self._tried.set()
                self._echoes.clear()
                self._sent_at.clear()
                for each in (client, *others):
                    with suppress(RedisError, OSError):
                        await each.aclose()
            _unless_cancelled()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _serve(self, client: Redis, place: _Place) -> None:
        """Hear and send until something fails."""
        heard = client.pubsub()
        try:
            # Of what others ring, which is as much as they save, it is told while somebody listens.
            # On a channel of its own, where nobody speaks, it is asked whether it is alive.
            await heard.subscribe(f"{self._channels}alive")
            if await heard.get_message(timeout=_TIMEOUT_S) is None:
                raise TimeoutError("it does not confirm a subscription")
            if self._problem:
                log.info("bell reachable again", redis=place.name)
                self._problem = ""
                self._missed = self._listening > 0
            BELL_UP.set(1)
            self._pubsub = heard
            self._tried.set()
            if self._listening and not self._asked:
                self._asked = True
                await heard.psubscribe(f"{self._channels}*")
            # No TaskGroup: in Python 3.11 one that failed leaves its task marked as cancelled.
            tasks = [
                asyncio.create_task(self._hear(heard)),
                asyncio.create_task(self._send(client, place.counts)),
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
            for why in ended:
                if isinstance(why, Exception):
                    raise why
        finally:
            self._pubsub, self._asked = None, False
            self._subscribed.clear()
            with suppress(RedisError, OSError):
                await heard.aclose()  # type: ignore[no-untyped-call] # redis types it so

    async def _hear(self, heard: PubSub) -> None:
        asked = False
        while True:
            message = await heard.get_message(timeout=_TIMEOUT_S)
            _unless_cancelled()
            if message is None:
                if asked:
                    raise TimeoutError("it does not answer")
                await heard.ping()
                asked = True
                continue
            asked = False
            if message["type"] == "pmessage":
                await self._heard(message["channel"], message["data"])
                if not self._listening:
                    await self._unsubscribe(heard)
            elif message["type"] == "psubscribe":
                self._subscribed.set()
                await self._ring_missed()

    async def _ring_missed(self) -> None:
        """Ring those who listened while Redis was away: what was rung meanwhile was not heard."""
        if self._missed:
            self._missed = False
            for topic, revision in list(self._newest.items()):
                await self._local.ring(topic, revision)

    async def _heard(self, channel: bytes, data: bytes) -> None:
        topic = channel.decode(errors="replace").removeprefix(self._channels)
        try:
            revision = int(data)
        except ValueError:
            return  # not of ours
        if (topic, revision) in self._echoes:
            # Our own, which was heard here when it was rung. Redis keeps order.
            while True:
                echo, sent_at = self._echoes.popleft(), self._sent_at.popleft()
                if echo == (topic, revision):
                    self._delays.observe(time.perf_counter() - sent_at)
                    return
        await self._ring_here(topic, revision)

    async def _send(self, client: Redis, counts: bool) -> None:
        while True:
            while self._unsent:
                topic, revision = self._unsent.popitem()
                if not self._listening:
                    # But the newest, whose echo a subscription under way may bring, none comes.
                    self._echoes.clear()
                    self._sent_at.clear()
                self._echoes.append((topic, revision))
                self._sent_at.append(time.perf_counter())
                try:
                    listeners = await client.publish(self._channels + topic, revision)
                except BaseException:
                    self._unsent.setdefault(topic, revision)
                    raise
                _unless_cancelled()
                await asyncio.sleep(_GAP_S if listeners or not counts else _UNHEARD_GAP_S)
            self._sending.clear()
            await self._sending.wait()


def _unless_cancelled() -> None:
    """Raise CancelledError if it is due: a connection being opened, or broken, may swallow it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def places(url: str) -> list[_Place]:
    """The ways to reach Redis that `url` names. Raises `ValueError`, saying what is allowed."""
    named = _URL.match(url)
    whole, netloc, place, asked = named.groups("") if named else (url, "", "", "")
    scheme, _, kind = whole.partition("+")
    if scheme not in ("redis", "rediss", "unix") or kind not in ("", "sentinel", "cluster"):
        raise ValueError(
            f"the scheme {whole!r} is not one of redis, rediss, unix, redis+sentinel,"
            " rediss+sentinel, redis+cluster, rediss+cluster"
        )
    if not kind:
        return [_plain(url, urlsplit(url).hostname or place)]
    user, at, hosts = netloc.rpartition("@")
    names = [host for host in hosts.split(",") if host]
    path = place.strip("/").split("/")
    query = f"?{asked}" if asked else ""
    if not names or (kind == "sentinel" and not path[0]):
        raise ValueError(
            "several nodes are named as redis+sentinel://host:port,host:port/MASTER or"
            " redis+cluster://host:port,host:port"
        )
    if kind == "cluster":
        # PUBLISH to any node of a cluster reaches subscribers of every node.
        urls = {host: f"{scheme}://{user}{at}{host}/0{query}" for host in names}
        return [_plain(url, host)._replace(counts=False) for host, url in urls.items()]
    database = path[1] if len(path) > 1 else "0"
    options: dict[str, Any] = dict(parse_url(f"{scheme}://{user}{at}{names[0]}/{database}{query}"))
    for name in ("host", "port", "connection_class"):
        options.pop(name, None)
    if scheme == "rediss":
        options["ssl"] = True
    return [_sentinel(names, path[0], options)]


def _options() -> dict[str, Any]:
    return {
        "socket_connect_timeout": _TIMEOUT_S,
        "socket_timeout": _TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),  # the feed itself tries again, and knows what it missed
    }


def _plain(url: str, name: str) -> _Place:
    parse_url(url)  # raises for what it does not understand

    def connect() -> tuple[Redis, list[Redis]]:
        return Redis.from_url(url, **_options()), []

    return _Place(name, connect)


def _sentinel(hosts: list[str], master: str, options: dict[str, Any]) -> _Place:
    addresses = [
        (parts.hostname or "", parts.port or 26379)
        for parts in (urlsplit(f"//{host}") for host in hosts)
    ]

    def connect() -> tuple[Redis, list[Redis]]:
        secured = {name: value for name, value in options.items() if name.startswith("ssl")}
        for_sentinels = _options() | secured
        asked = Sentinel(addresses, sentinel_kwargs=for_sentinels, **_options(), **options)  # type: ignore[no-untyped-call] # redis types it so
        return asked.master_for(master), list(asked.sentinels)

    return _Place(f"{master} of {','.join(hosts)}", connect)
