"""Bad input: one clear line and the right exit code each."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from overnight.errors import InvariantError
from overnight.testing.openai_fake import KEY
from tests.blobs.small_disk import small_disk
from tests.cli.calling import Done, call, process
from tests.cli.conftest import Pipeline


def run(source: str, *more: object, prompt: str = "{{ text }}") -> Done:
    return call("run", source, "-m", "openai/gpt-5.4-mini", "-p", prompt, "--yes", "--dry-run", *more)


SOURCES: dict[str, tuple[bytes, tuple[str, ...], str]] = {
    "empty": (b"", (), "bad.csv is empty: "),
    "only a header": (b"id,text\n", (), "bad.csv: the source has no rows"),
    "a row too short": (b"id,text\n1,a\n2\n", (), "bad.csv, line 3: "),
    "a row too long": (b"id,text\n1,a\n2,b,c\n", (), "bad.csv, line 3: "),
    "unclosed quote": (b'id,text\n1,a\n2,"b\n3,c\n', (), "bad.csv, line 3: "),
    "invalid UTF-8": (b"id,text\n1,a\n2,\xff\xfe\n", (), "bad.csv, line 3: "),
    "missing key": (b"id,text\n1,a\n,b\n", ("--key", "id"), "bad.csv, line 3: the key (id) is empty"),
    "blank key": (b"id,text\n1,a\n  ,b\n", ("--key", "id"), "bad.csv, line 3: the key (id) is empty"),
    "duplicate key": (b"id,text\n1,a\n2,b\n1,c\n", ("--key", "id"), "bad.csv, line 4: the key (id) is the same as in"),
    "unknown key": (b"ident,text\n1,a\n", ("--key", "idnt"), "key: the source has no column 'idnt': did you mean"),
    "unknown kept column": (b"id,text\n1,a\n", ("--keep", "txt"), "keep: the source has no column 'txt': did you mean"),
    "unknown column": (b"id,txt\n1,a\n", (), "prompt.user: the source has no column 'text': did you mean 'txt'?"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(SOURCES))
def test_a_source_that_cannot_be_sent(name: str, place: Path) -> None:
    content, more, said = SOURCES[name]
    (place / "bad.csv").write_bytes(content)
    done = run("bad.csv", *more)
    assert done.code == 2
    assert said in done.error
    assert call("jobs", "--json").document == []


@pytest.mark.parametrize(
    "line", [b'{"text": NaN}', b'{"text": "a"', b"[1]", b'{"text": "\xff"}'], ids=["NaN", "cut", "list", "UTF-8"]
)
def test_lines_of_json_that_cannot_be_read(line: bytes, place: Path) -> None:
    (place / "bad.jsonl").write_bytes(b'{"text": "a"}\n' + line + b"\n")
    done = run("bad.jsonl")
    assert done.code == 2
    assert "bad.jsonl, line 2: " in done.error


def test_no_such_file_and_a_directory(place: Path) -> None:
    (place / "folder").mkdir()
    for source, said in (("none.csv", "no such file"), ("folder", "is a directory"), ("*.none", "no file matches")):
        done = run(source)
        assert done.code == 2
        assert said in done.error


def test_a_line_of_300_megabytes(place: Path) -> None:
    for name, start in (("long.csv", b"id,text\n1,a\n2,"), ("long.jsonl", b'{"text": "a"}\n{"text": "')):
        with (place / name).open("wb") as file:
            file.write(start)
            file.truncate(300_000_000)  # sparse
        done = run(name)
        assert done.code == 2
        assert name in done.error
        (place / name).unlink()


def test_a_byte_order_mark_is_no_trouble(place: Path) -> None:
    (place / "bom.csv").write_bytes(b"\xef\xbb\xbfid,text\n1,a\n")
    assert run("bom.csv", "--key", "id").code == 0


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("{{ text ", "prompt.user, line 1: "),
        ("{{ text * 3000000000 }}", "rows.csv, line 2: prompt.user, line 1: more than"),
        ("{% for a in range(9999) %}{% for b in range(999) %}x{{ text }}{% endfor %}{% endfor %}", "rows.csv, line 2"),
        ("{{ text.__class__.__mro__ }}", "rows.csv, line 2: prompt.user, line 1: "),
        ("{{ text / 0 }}", "rows.csv, line 2: prompt.user, line 1: "),
        ("nothing of the row", "no column of the source is named"),
    ],
)  # fmt: skip
def test_templates_that_explode(prompt: str, said: str) -> None:
    done = run("rows.csv", prompt=prompt)
    assert done.code == 2
    assert said in done.error


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("-m", "opnai/gpt-5.4", "-p", "{{ text }}"), "did you mean `openai/gpt-5.4`?"),
        (("-m", "gpt-5.4", "-p", "{{ text }}"), "write provider/model"),
        (("-p", "{{ text }}"), "`model` (command line): missing"),
        (("-m", "openai/gpt-5.4"), "`prompt.user` (command line): missing"),
        (("-m", "openai/gpt-5.4", "-p", "{{ text }}", "--set", "policy.retrys=3"), "did you mean `retries`?"),
        (("-m", "openai/gpt-5.4", "-p", "{{ text }}", "--set", "policy.retries=many"), "`policy.retries` (--set)"),
        (("-m", "openai/gpt-5.4", "-p", "{{ text }}", "--labels", "a,a"), "`a` is given twice"),
        (("-m", "openai/gpt-5.4", "-p", "{{ text }}", "--schema", "none.json"), "none.json"),
        (("-m", "openai/gpt-5.4", "-p", "{{ text }}", "--limit", "0"), "0 is not in the range"),
        (("-m", "openai/gpt-5.4", "-p", "{{ text }}", "--modle", "x"), "--model"),
        (("-m", "openai/gpt-5.4", "-p", "{{ text }}", "-o", "out.docx"), "use one of .csv"),
    ],
)
def test_words_that_are_wrong(argv: tuple[str, ...], said: str) -> None:
    done = call("run", "rows.csv", *argv, "--dry-run")
    assert done.code == 2
    assert said in done.error


def test_verbs_settings_and_jobs_that_are_not_there() -> None:
    for argv, said in (
        (("runn", "x"), "did you mean `run`?"),
        (("--poll", "often", "jobs"), "--poll: must be a number of seconds"),
        (("status", "nothing"), "overnight jobs"),
        (("serve", "--backend", "magic"), "backend `magic`"),
        (("serve", "--backend", "fake", "--host", "0.0.0.0"), "--keys"),
    ):
        done = call(*argv)
        assert done.code == 2
        assert said in done.error


def test_a_spec_with_a_typo_names_its_line(place: Path) -> None:
    (place / "job.yaml").write_text("model: openai/gpt-5.4\nsource: rows.csv\nprompt:\n  usr: '{{ text }}'\n")
    done = call("run", "job.yaml", "--dry-run")
    assert done.code == 2
    assert "`prompt.usr` (job.yaml:4): unknown field; did you mean `user`?" in done.error
    assert "no such spec file: none.yaml" in call("run", "none.yaml").error


def test_a_schema_that_the_provider_would_refuse(place: Path) -> None:
    (place / "answer.json").write_text('{"type": "array", "items": {"type": "string"}}')
    done = run("rows.csv", "--schema", "answer.json")
    assert done.code == 2
    assert "answer.json" in done.error


def test_no_key(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    done = call("run", "rows.csv", "-m", "openai/gpt-5.4", "-p", "{{ text }}", "--yes")
    assert done.code == 2
    assert "OPENAI_API_KEY" in done.error
    assert "batches" not in done.err  # no preview before it
    assert call("jobs", "--json").document == []
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    pipeline.run()
    monkeypatch.delenv("OPENAI_API_KEY")
    assert pipeline.run().code == 0  # what is finished needs no key, nor does a look at what would be sent
    assert "batches" in call("run", *pipeline.job(), "--dry-run", "--new").err


def test_a_wrong_key_never_shows(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
    done = pipeline.run()
    assert done.code == 4
    assert "the API key was refused" in done.error
    assert "sk-wrong" not in done.err
    assert pipeline.fake.made == {}


def test_another_accounts_job(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.fake.takes = 3600.0
    call("submit", *pipeline.job(), "--yes")
    pipeline.fake.accounts["sk-other"] = "org-other"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    done = pipeline.run()
    assert done.code == 2
    assert "org-fake" in done.error
    assert "org-other" in done.error
    assert len(pipeline.fake.made) == 1


def test_an_unknown_model_is_told_by_the_rows(pipeline: Pipeline) -> None:
    pipeline.fake.rows = lambda ordinal, attempt: "404"
    done = pipeline.run("--limit", "5")
    assert done.code == 3
    assert "5 errored" in done.err
    assert "HTTP 404" in done.err


def test_a_server_that_is_down() -> None:
    done = call("run", "rows.csv", "-m", "openai/x", "-p", "{{ text }}", "--base-url", "http://127.0.0.1:9/v1", "--yes")
    assert done.code == 4
    assert "cannot be reached" in done.error


class _Html(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = b"<html><body>Please log in</body></html>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def html() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Html)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_answers_html(html: str) -> None:
    done = call("run", "rows.csv", "-m", "openai/x", "-p", "{{ text }}", "--base-url", html, "--yes")
    assert done.code == 4
    assert "HTML" in done.error
    assert "log in" not in done.err


def test_an_output_that_cannot_be_written_is_told_before_anything_is_sent(pipeline: Pipeline, place: Path) -> None:
    (place / "folder.csv").mkdir()
    for output, said in (("none/out.csv", "make its directory first"), ("folder.csv", "is a directory")):
        done = pipeline.run("-o", output)
        assert done.code == 1
        assert said in done.error
    with small_disk(place / "disk", "1m", "ro") as disk:
        done = pipeline.run("-o", disk / "out.csv")
        assert done.code == 1
        assert "Read-only" in done.error
    assert pipeline.fake.calls == []


def test_a_full_disk(pipeline: Pipeline, place: Path) -> None:
    with small_disk(place / "disk", "64k") as disk:
        pipeline.fake.answering = lambda chat: "long " * 2000
        done = pipeline.run("-o", disk / "out.csv")
        assert done.code == 1
        assert "No space left on device" in done.error
        assert list(disk.iterdir()) == []
    assert pipeline.run("-o", "out.csv").code == 0  # and nothing was lost
    assert pipeline.fake.executed_twice() == []


def test_a_home_on_a_full_disk(pipeline: Pipeline, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(place / "disk", "512k") as disk:
        monkeypatch.setenv("OVERNIGHT_HOME", str(disk / "home"))
        done = pipeline.run()
        assert done.code == 1
        assert "disk" in done.error
    assert pipeline.fake.calls == []


def test_a_home_that_cannot_be_made(place: Path) -> None:
    (place / "file").write_text("")
    done = call("jobs", "--home", place / "file" / "home")
    assert done.code == 1
    assert "--home" in done.error


def test_machines_get_the_error_as_a_document() -> None:
    done = call("status", "nothing", "--json")
    assert done.document["error"]["exit_code"] == done.code == 2
    assert done.document["error"]["message"] == done.error


def test_a_bug_is_one_line_and_its_traceback_is_logged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import overnight.cli.jobs

    def raising(error: Exception) -> Callable[..., None]:
        def broken(call: object) -> None:
            raise error

        return broken

    for error, said in ((KeyError("a secret"), "KeyError"), (InvariantError("two and two are five"), "two and two")):
        monkeypatch.setattr(overnight.cli.jobs, "told_jobs", raising(error))
        done = call("jobs")
        assert done.code == 1
        assert said in done.error
        assert "overnight.log" in done.error
    logged = (tmp_path / "home" / "overnight.log").read_text()
    assert "in broken" in logged
    assert "a secret" not in logged + done.err


def test_python_m_overnight_ends_with_the_same_codes() -> None:
    assert process("status", "nothing").code == 2
    assert process("--version").out.startswith("overnight ")
