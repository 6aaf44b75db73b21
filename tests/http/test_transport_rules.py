"""The rules of the transport, each against a server that speaks raw sockets on loopback."""

import asyncio
import io
import socket
import struct
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.errors import ProviderError, UsageError
from overnight.http import KEEPALIVE, TRIES, UPLOADS, Answer, Http, checked_base_url, is_loopback
from overnight.types import Failure, FailureKind

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Raw:
    """A server whose answers are given one request after the other: bytes to send, or what to do instead."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.heads = []
        self.bodies = []
        self.connections = 0

    async def talk(self, reader, writer):
        self.connections += 1
        try:
            while True:
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.IncompleteReadError:
                    return
                self.heads.append(head.decode())
                length = next((int(v) for k, v in self.fields(-1) if k == "content-length"), 0)
                self.bodies.append(None)
                self.bodies[-1] = await reader.readexactly(length)
                answer = self.answers.pop(0) if self.answers else OK
                if answer == "fin":
                    return
                if answer == "rst":
                    sock = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                if answer == "silence":
                    await reader.read()
                    return
                writer.write(answer)
                await writer.drain()
                if b"connection: close" in answer:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def fields(self, number):
        lines = self.heads[number].split("\r\n")[1:]
        return [(k.lower(), v.strip()) for k, _, v in (line.partition(":") for line in lines) if k]

    def methods(self):
        return [head.split(" ")[0] for head in self.heads]


@asynccontextmanager
async def serving(*answers):
    raw = Raw(*answers)
    server = await asyncio.start_server(raw.talk, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield raw
    finally:
        server.close()


@asynccontextmanager
async def http(url, **settings):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    client = Http(url, {"authorization": "Bearer sk-secret"}, sleep=sleep, jitter=lambda: 1.0, **settings)
    client.waits = waits
    try:
        yield client
    finally:
        await client.close()


def run(story):
    asyncio.run(story())


def status(code, *fields, body=b"{}"):
    lines = "".join(f"{field}\r\n" for field in fields)
    return f"HTTP/1.1 {code} X\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


# ------------------------------------------------------------------------------------- a POST leaves once


WAYS = {
    "pooled": lambda client: client.post("/batches", b"{}"),
    "alone": lambda client: client.post_alone("/batches", b"{}", timeout=5),
    "streamed": lambda client: client.post_alone("/batches", iter([b"{", b"}"]), size=2, timeout=5),
    "part": lambda client: client.post_part("/batches", io.BytesIO(b"{}"), 2, {}),
}


@pytest.mark.parametrize("end", ["fin", "rst"])
@pytest.mark.parametrize("reused", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_post_whose_connection_ends_is_not_sent_again(end, reused, way):
    async def story():
        alone = way in {"alone", "streamed"}
        async with serving(*([OK] if reused else []), end) as raw, http(raw.url) as client:
            if reused:
                await client.post("/batches", b"{}")
            with pytest.raises(ProviderError) as raised:
                await WAYS[way](client)
            assert raised.value.failure.kind is FailureKind.TRANSIENT
            assert not raised.value.failure.proves_refusal
            assert raised.value.failure.status is None
            await asyncio.sleep(0.01)  # a second one would arrive now
            assert raw.methods() == ["POST"] * (2 if reused else 1)
            assert raw.connections == (2 if reused and alone else 1)

    run(story)


def test_a_create_has_a_connection_of_its_own_that_is_closed_after_it():
    async def story():
        async with serving() as raw, http(raw.url) as client:
            await client.get("/files")
            await client.post_alone("/batches", b"{}", timeout=5)
            await client.post_alone("/batches", b"{}", timeout=5)
            await client.get("/files")
            assert raw.connections == 3
            assert ("connection", "close") in raw.fields(1)
            assert raw.bodies[1] == b"{}"
            assert ("content-length", "2") in raw.fields(1)
            assert "transfer-encoding" not in dict(raw.fields(1))

    run(story)


def test_nothing_of_a_create_leaves_after_its_deadline():
    async def story():
        moments = [0.0, 121.0]
        async with serving() as raw, http(raw.url, elapsed=lambda: moments.pop(0)) as client:
            with pytest.raises(ProviderError) as raised:
                await client.post_alone("/batches", b"{}", timeout=120)
            assert not raised.value.failure.proves_refusal
            assert raw.bodies in ([], [None])

    run(story)


def test_a_streamed_create_is_sent_whole_and_with_its_length():
    async def story():
        pieces = [b"[", b"x" * 700_000, b"y" * 700_000, b"]"]
        size = sum(map(len, pieces))
        async with serving() as raw, http(raw.url) as client:
            await client.get("/files")
            await client.post_alone("/batches", iter(pieces), size=size, timeout=5)
            assert raw.bodies[1] == b"".join(pieces)
            assert ("content-length", str(size)) in raw.fields(1)
            assert ("connection", "close") in raw.fields(1)
            assert "transfer-encoding" not in dict(raw.fields(1))
            assert raw.connections == 2

    run(story)


@pytest.mark.parametrize("sent", [1, 2])
def test_a_streamed_create_stops_at_its_deadline_and_so_is_never_whole(sent):
    async def story():
        moments = [0.0] * (sent + 1)
        async with serving() as raw, http(raw.url, elapsed=lambda: moments.pop(0) if moments else 121.0) as client:
            with pytest.raises(ProviderError) as raised:
                await client.post_alone("/batches", iter([b"[", b"1", b"]"]), size=3, timeout=120)
            assert not raised.value.failure.proves_refusal
            await asyncio.sleep(0.01)
            assert raw.bodies == [None]  # the head came, and never all of the body

    run(story)


@pytest.mark.parametrize("pieces", [[b"[", b"]"], [b"[", b"1", b"23]"], []])
def test_a_create_whose_body_is_of_another_length_is_never_whole(pieces):
    async def story():
        async with serving() as raw, http(raw.url) as client:
            with pytest.raises(ProviderError) as raised:
                await client.post_alone("/batches", iter(pieces), size=3, timeout=5)
            assert not raised.value.failure.proves_refusal
            await asyncio.sleep(0.01)
            assert raw.bodies == [None] or not raw.bodies

    run(story)


@pytest.mark.parametrize("code", [408, 409, 429, 500, 502, 503, 504, 529])
def test_a_post_that_is_refused_for_now_is_not_sent_again(code):
    async def story():
        async with serving(status(code, "retry-after: 1")) as raw, http(raw.url) as client:
            assert (await client.post("/batches", b"{}")).status == code
            assert raw.methods() == ["POST"]
            assert client.waits == []

    run(story)


@pytest.mark.parametrize("method", ["post", "get"])
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(code, method):
    async def story():
        async with serving(status(code, "location: /elsewhere")) as raw, http(raw.url) as client:
            answer = await (client.get("/x") if method == "get" else client.post("/x", b"{}"))
            assert answer.status == code
            assert raw.methods() == [method.upper()]

    run(story)


# ------------------------------------------------------------------------------------- the environment


def test_netrc_and_proxy_variables_change_nothing(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\ndefault login me password mine\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def story():
        async with serving() as raw, http(raw.url) as client:
            assert (await client.get("/files")).status == 200
            assert ("authorization", "Bearer sk-secret") in raw.fields(0)

    run(story)


def test_our_own_proxy_setting_is_not_used_on_loopback():
    async def story():
        async with serving() as raw, http(raw.url, proxy="http://127.0.0.1:9") as client:
            assert (await client.get("/files")).status == 200

    run(story)


def test_our_own_proxy_setting_is_used_elsewhere():
    async def story():
        async with (
            serving() as raw,
            http("http://api.example.invalid/v1", proxy=raw.url.removesuffix("/v1")) as client,
        ):
            assert (await client.get("/files")).status == 200
            assert raw.heads[0].startswith("GET http://api.example.invalid/v1/files HTTP/1.1\r\n")

    run(story)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("api.openai.com", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback_by_name_and_number(host, loopback):
    assert is_loopback(host) is loopback


def test_no_cookie_comes_back():
    async def story():
        # the library keeps no cookies of numbered hosts anyway
        async with (
            serving(status(200, "set-cookie: a=b")) as raw,
            http(raw.url.replace("127.0.0.1", "localhost")) as client,
        ):
            await client.get("/files")
            await client.get("/files")
            assert "cookie" not in dict(raw.fields(1))

    run(story)


# ------------------------------------------------------------------------------------- what proves that nothing left


def refused_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"http://127.0.0.1:{refused_port()}/v1", "refused"),
        ("http://nowhere.invalid/v1", "host name"),
    ],
)
def test_no_connection_proves_that_nothing_was_taken(url, told):
    async def story():
        async with http(url) as client:
            with pytest.raises(ProviderError) as raised:
                await client.post_alone("/batches", b"{}", timeout=20)
            assert raised.value.failure.proves_refusal
            assert raised.value.failure.kind is FailureKind.TRANSIENT
            assert told in raised.value.failure.message
            assert "sk-secret" not in raised.value.failure.message

    run(story)


def test_no_tls_proves_that_nothing_was_taken():
    async def plain(reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async def over_plain_http():
        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with http(f"https://127.0.0.1:{port}/v1") as client:
            with pytest.raises(ProviderError) as raised:
                await client.post_alone("/batches", b"{}", timeout=20)
        server.close()
        assert raised.value.failure.proves_refusal
        assert "secure" in raised.value.failure.message

    asyncio.run(over_plain_http())


def test_silence_proves_nothing():
    async def story():
        async with serving("silence", "silence") as raw:
            async with http(raw.url, read_timeout=0.05) as client:
                with pytest.raises(ProviderError) as raised:
                    await client.post("/batches", b"{}")
                assert not raised.value.failure.proves_refusal
            async with http(raw.url) as client:
                with pytest.raises(ProviderError) as raised:
                    await client.post_alone("/batches", b"{}", timeout=0.05)
                assert not raised.value.failure.proves_refusal

    run(story)


# ------------------------------------------------------------------------------------- what may be sent again


@pytest.mark.parametrize("call", ["get", "delete"])
@pytest.mark.parametrize("fault", [status(503), status(429), status(500), "fin", "rst"])
def test_harmless_requests_are_tried_again(call, fault):
    async def story():
        async with serving(fault, fault) as raw, http(raw.url) as client:
            assert (await getattr(client, call)("/files")).status == 200
            assert len(raw.heads) == 3
            # the library itself sends a GET or DELETE again, once, when a connection ends
            assert client.waits == ([1.0] if isinstance(fault, str) else [1.0, 2.0])

    run(story)


def test_trying_again_ends():
    async def story():
        async with serving(*[status(503)] * 9) as raw, http(raw.url) as client:
            assert (await client.get("/files")).status == 503
            assert len(raw.heads) == TRIES

    run(story)


def test_the_servers_wish_is_waited_for_when_it_is_short():
    async def story():
        async with serving(status(429, "retry-after: 7")) as raw, http(raw.url) as client:
            assert (await client.get("/files")).status == 200
            assert client.waits == [7.0]
        async with serving(status(429, "retry-after: 3600")) as raw, http(raw.url) as client:
            answer = await client.get("/files")
            assert (answer.status, answer.retry_after, client.waits) == (429, 3600.0, [])

    run(story)


def test_the_authorization_is_asked_before_every_request():
    async def story():
        tokens = iter(["Bearer one", "Bearer two", "Bearer three"])

        async def authorize():
            return {"authorization": next(tokens)}

        async with serving(status(503)) as raw, http(raw.url, authorize=authorize) as client:
            await client.get("/files")
            await client.post_alone("/batches", b"{}", timeout=5.0)
            assert [dict(raw.fields(at))["authorization"] for at in range(3)] == [
                "Bearer one",
                "Bearer two",
                "Bearer three",
            ]

    run(story)


def test_where_no_authorization_can_be_had_nothing_leaves_and_nothing_is_tried_again():
    async def story():
        async def authorize():
            raise ProviderError(Failure(FailureKind.ACCOUNT, "no credentials", proves_refusal=True))

        async with serving() as raw, http(raw.url, authorize=authorize) as client:
            with pytest.raises(ProviderError, match="no credentials"):
                await client.get("/files")
            assert (raw.connections, client.waits) == (0, [])

    run(story)


def test_a_refused_get_is_not_tried_again():
    async def story():
        async with serving(status(404)) as raw, http(raw.url) as client:
            assert (await client.get("/files/x")).status == 404
            assert len(raw.heads) == 1

    run(story)


def test_an_upload_is_sent_whole_and_with_its_length():
    async def story():
        data = bytes(range(256)) * 4096
        async with serving() as raw, http(raw.url) as client:
            await client.upload("/files", [("purpose", "batch")], lambda: io.BytesIO(data), len(data), 'a"b.jsonl')
            fields = dict(raw.fields(0))
            assert int(fields["content-length"]) == len(raw.bodies[0])
            assert "transfer-encoding" not in fields
            boundary = fields["content-type"].partition("boundary=")[2].encode()
            parts = raw.bodies[0].split(b"--" + boundary)
            assert parts[1] == b'\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            assert b'filename="a%22b.jsonl"' in parts[2]
            assert parts[2].endswith(b"\r\n\r\n" + data + b"\r\n")
            assert parts[3] == b"--\r\n"

    run(story)


def test_a_few_uploads_are_under_way_at_the_same_time():
    opened = set()
    most = 0

    class Content(io.BytesIO):
        def close(self):
            opened.discard(self)
            super().close()

    def content():
        nonlocal most
        file = Content(b"x" * 50)
        opened.add(file)
        most = max(most, len(opened))
        return file

    async def story():
        async with serving() as raw, http(raw.url) as client:
            calls = [client.upload("/files", [], content, 50, "a.jsonl") for _ in range(3 * UPLOADS)]
            answers = await asyncio.gather(*calls)
            assert [answer.status for answer in answers] == [200] * len(calls)

    run(story)
    assert most == UPLOADS


def test_an_upload_may_be_sent_again_from_its_start_and_closes_what_it_opens():
    async def story():
        data, opened = b"x" * 700_000, []

        def content():
            opened.append(io.BytesIO(data))
            return opened[-1]

        async with serving("fin", status(500)) as raw, http(raw.url) as client:
            answer = await client.upload("/files", [], content, len(data), "a.jsonl")
            assert answer.status == 200
            assert [data in body for body in raw.bodies] == [True, True, True]
            assert [file.closed for file in opened] == [True, True, True]

    run(story)


def test_a_part_is_so_many_bytes_from_where_the_file_stands():
    async def story():
        file = io.BytesIO(b"abcdefgh")
        file.seek(2)
        async with serving() as raw, http(raw.url) as client:
            await client.post_part("/upload", file, 3, {"x-offset": "2"})
            assert raw.bodies == [b"cde"]
            fields = dict(raw.fields(0))
            assert (fields["content-length"], fields["x-offset"]) == ("3", "2")
            with pytest.raises(ProviderError):
                await client.post_part("/upload", file, 9, {})
            assert raw.bodies[1] is None

    run(story)


def test_a_harmless_post_is_sent_again():
    async def story():
        async with serving("fin", status(503)) as raw, http(raw.url) as client:
            assert (await client.post_harmless("/upload", b"{}", {"x-command": "query"})).status == 200
            assert raw.methods() == ["POST"] * 3

    run(story)


@pytest.mark.parametrize("announced", [10, 30])
def test_a_file_that_changed_its_length_is_not_stored(announced):
    async def story():
        async with serving() as raw, http(raw.url) as client:
            with pytest.raises(ProviderError):
                await client.upload("/files", [], lambda: io.BytesIO(b"x" * 20), announced, "a.jsonl")
            assert all(body is None for body in raw.bodies)

    run(story)


# ------------------------------------------------------------------------------------- answers


def test_a_download_that_ends_too_early_raises():
    async def story():
        whole = b"x" * 500_000
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n"
        cut = head % len(whole) + b"connection: close\r\n\r\n" + whole[:300_000]
        async with serving(cut, head % len(whole) + b"\r\n" + whole, status(404)) as raw, http(raw.url) as client:
            got = bytearray()
            with pytest.raises(ProviderError):
                await client.download("/files/a/content", got.extend)
            assert bytes(got) == whole[: len(got)]
            got.clear()
            assert (await client.download("/files/a/content", got.extend)).status == 200
            assert bytes(got) == whole
            got.clear()
            answer = await client.download("/files/a/content", got.extend)
            assert (answer.status, answer.body, bytes(got)) == (404, b"{}", b"")
            assert len(raw.heads) == 3

    run(story)


def test_headers_of_an_answer_are_seen_in_any_case():
    async def story():
        named = status(200, "OpenAI-Organization: org-1", "X-Request-Id: req_1")
        async with serving(named) as raw, http(raw.url) as client:
            answer = await client.get("/files")
            assert answer.headers["openai-organization"] == "org-1"
            assert answer.headers.get("x-request-ID") == "req_1"

    run(story)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"date": "Wed, 25 Nov 2026 10:00:00 GMT", "retry-after": "Wed, 25 Nov 2026 10:01:30 GMT"}, 90.0),
        ({"date": "Wed, 25 Nov 2026 10:00:00 GMT", "retry-after": "Wed, 25 Nov 2026 09:00:00 GMT"}, 0.0),
        ({"date": "nonsense", "retry-after": "Wed, 25 Nov 1998 09:00:00 GMT"}, 0.0),
        ({"retry-after": "after lunch"}, None),
    ],
)
def test_how_long_to_wait(headers, seconds):
    assert Answer(429, headers, b"").retry_after == seconds


@given(st.text(), st.text(), st.text())
def test_no_header_makes_the_waiting_fail(milliseconds, seconds, date):
    waits = Answer(429, {"retry-after-ms": milliseconds, "retry-after": seconds, "date": date}, b"").retry_after
    assert waits is None or 0 <= waits < float("inf")


# ------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "url",
    ["", "api.openai.com/v1", "ftp://host/v1", "http://", "http://host:port/v1", "http://ho st/v1", "http://[::1/v1"],
)
def test_a_base_url_that_is_none_is_refused(url):
    with pytest.raises(UsageError, match="base_url"):
        checked_base_url(url)


@pytest.mark.parametrize(
    "url", ["https://me:hunter2@host/v1", "https://host/v1?key=hunter2", "https://host/v1#hunter2"]
)
def test_a_base_url_with_secrets_is_refused_without_showing_them(url):
    with pytest.raises(UsageError) as raised:
        checked_base_url(url)
    assert "hunter2" not in str(raised.value)


def test_a_base_url_loses_its_last_slash():
    assert checked_base_url("https://host/v1/") == "https://host/v1"


@pytest.mark.parametrize("key", ["sk-1\n", "sk\r\nx: y", "schlüssel-1"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key):
    with pytest.raises(UsageError) as raised:
        Http("https://host/v1", {"authorization": f"Bearer {key}"})
    assert key.strip() not in str(raised.value)


def test_idle_connections_are_given_up_before_common_servers_close_them():
    assert KEEPALIVE < 5
