"""Jobs from the first row to the last, against a provider on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.calling import call, command, process, read_table, write_rows
from tests.cli.conftest import Pipeline


def fails(word: str, *ordinals: int, attempts: int = 99):
    return lambda ordinal, attempt: word if ordinal in ordinals and attempt < attempts else "ok"


def test_a_job_from_rows_to_answers(pipeline: Pipeline, place: Path) -> None:
    done = pipeline.run("-o", "out.csv")
    assert (done.code, done.out) == (0, "")
    assert [row["answer"] for row in read_table(place / "out.csv")] == [f"Say: text {at}" for at in range(40)]
    assert "40 to send" in done.err
    assert "finished" in done.err
    assert str(place / "out.csv") in done.err


def test_a_finished_job_is_shown_again_and_costs_nothing(pipeline: Pipeline, place: Path) -> None:
    first = pipeline.run("-o", "out.csv", "--json").document
    written, calls = (place / "out.csv").stat().st_mtime_ns, len(pipeline.fake.calls)
    again = call("run", *pipeline.job("-o", "out.csv", "--json"))  # no --yes: nothing is left to ask
    assert again.code == 0
    assert again.document == first
    assert (place / "out.csv").stat().st_mtime_ns == written
    assert len(pipeline.fake.calls) == calls


def test_the_output_is_written_again_where_it_is_missing_or_stale(pipeline: Pipeline, place: Path) -> None:
    pipeline.run("-o", "out.csv")
    (place / "out.csv").unlink()
    assert call("run", *pipeline.job("-o", "out.csv")).code == 0
    assert len(read_table(place / "out.csv")) == 40
    assert call("run", *pipeline.job("-o", "out.csv", "--keep", "all")).code == 0
    assert read_table(place / "out.csv")[3]["text"] == "text 3"


def test_failed_rows_are_told_with_the_commands_that_help(pipeline: Pipeline, place: Path) -> None:
    pipeline.fake.rows = fails("400", 3, 7)
    done = pipeline.run("-o", "out.csv", "--json")
    assert done.code == 3
    document = done.document
    assert document["outcomes"] == {"succeeded": 38, "errored": 2}
    assert document["reasons"]["permanent"]["rows"] == 2
    assert document["first_failed_key"] == "k3"
    assert f"overnight show {document['job']} k3" in done.err
    assert f"overnight retry {document['job']}" in done.err
    shown = call("show", "rows", "k3", "--json").document
    assert shown["attempts"][0]["kind"] == "permanent"
    assert shown["request"]["body"]["messages"][-1]["content"] == "Say: text 3"
    assert "HTTP 400" in call("show", "rows", "k3").out


def test_retry_sends_failed_rows_again(pipeline: Pipeline, place: Path) -> None:
    pipeline.fake.rows = fails("400", 3, 7)
    pipeline.run("-o", "out.csv")
    pipeline.fake.rows = fails("ok")
    done = call("retry", "rows", "--key", "k7")
    assert done.code == 3
    assert call("retry", "rows", "--kind", "transient").code == 3  # none ended so
    assert {row["id"] for row in read_table(place / "out.csv") if row["status"] != "succeeded"} == {"k3"}
    assert call("retry", "rows", "--no-run").code == 0
    assert call("watch", "rows").code == 0
    assert all(row["status"] == "succeeded" for row in read_table(place / "out.csv"))
    assert pipeline.fake.answered_twice() == []


def test_mended_rows_go_into_the_same_table(pipeline: Pipeline, place: Path) -> None:
    with (place / "rows.csv").open("a") as file:
        file.write("empty,\n")
    pipeline.fake.rows = fails("400", 3, 7)
    pipeline.run("-o", "out.csv")
    call("results", "rows", "--failed", "-o", "bad.csv")
    bad = read_table(place / "bad.csv")
    assert [row["id"] for row in bad] == ["k3", "k7"]
    (place / "mended.csv").write_text("text,id\nsomething,empty\nseven,k7\nthree,k3\none,k1\n")
    pipeline.fake.rows = fails("ok")
    done = call("retry", "rows", "--from", "mended.csv")
    assert done.code == 0
    assert "3 mended rows" in done.err
    assert "1 row left alone: succeeded before" in done.err
    answers = {row["id"]: row for row in read_table(place / "out.csv")}
    assert [answers[key]["answer"] for key in ("k1", "k3", "k7", "empty")] == [
        "Say: text 1",
        "Say: three",
        "Say: seven",
        "Say: something",
    ]
    assert answers["k3"]["attempts"] == "2"
    for key, text in (("k3", "Say: three"), ("k7", "Say: seven"), ("empty", "Say: something")):
        assert call("show", "rows", key, "--json").document["request"]["body"]["messages"][-1]["content"] == text
    assert all(row["status"] == "succeeded" for row in answers.values())


def test_a_bad_record_is_mended_by_its_key_where_that_could_be_read(pipeline: Pipeline, place: Path) -> None:
    rows = [f'{{"id": "k{number}", "text": {{"a": "text {number}"}}}}' for number in range(6)]
    rows[2], rows[4] = '{"id": "k2", "text": {', '{"id": "k4", "text": {}}'
    (place / "rows.jsonl").write_text("\n".join(rows))
    bad = ("-p", "Say: {{ text.a }}", "--set", "rows.on_bad=skip", "-o", "out.csv", "--yes")
    assert call("run", *pipeline.job(*bad, source="rows.jsonl")).code == 0
    (place / "mended.jsonl").write_text('{"id": "k4", "text": {"a": "four"}}\n')
    assert call("retry", "rows", "--from", "mended.jsonl").code == 0
    assert read_table(place / "out.csv")[4]["answer"] == "Say: four"
    (place / "mended.jsonl").write_text('{"id": "k2", "text": {"a": "two"}}\n')
    done = call("retry", "rows", "--from", "mended.jsonl")
    assert done.code == 2
    assert "mended.jsonl, line 1: the job has no row with this key (id): the key of a record that could" in done.error
    assert "rows.jsonl, line 3: no valid JSON" in done.error
    assert "as a job of their own" in done.error
    assert call("run", *pipeline.job(*bad, "-o", "more.csv", source="mended.jsonl")).code == 0
    assert [row["answer"] for row in read_table(place / "more.csv")] == ["Say: two"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,text\nk99,x\n", "mended.csv, line 2: the job has no row with this key (id)"),
        ("id,text\nk3,x\nk3,y\n", "line 3: the key (id) is the same as in"),
        ("id,txt\nk3,x\n", "the source has no column 'text': did you mean 'txt'?"),
        ("key,text\nk3,x\n", "the source has no column 'id'"),
        ("id,text\nk3,\n", "line 2: every column of the prompt is empty"),
    ],
)
def test_mended_rows_that_cannot_be_sent(pipeline: Pipeline, place: Path, text: str, said: str) -> None:
    pipeline.fake.rows = fails("400", 3)
    pipeline.run()
    (place / "mended.csv").write_text(text)
    done = call("retry", "rows", "--from", "mended.csv")
    assert done.code == 2
    assert said in done.error


def test_a_dry_run_leaves_nothing(pipeline: Pipeline) -> None:
    done = call("run", *pipeline.job("--dry-run", "--json"))
    assert done.code == 0
    assert done.document["rows"]["to_send"] == 40
    assert done.document["first_request"]["body"]["messages"][-1]["content"] == "Say: text 0"
    assert call("jobs", "--json").document == []
    assert pipeline.fake.calls == []


def test_a_dry_run_of_more_rows_leaves_the_job_as_it_was(pipeline: Pipeline) -> None:
    pipeline.run("--limit", "10")
    before = call("status", "rows", "--json").document
    assert call("run", *pipeline.job("--dry-run")).code == 0
    assert call("status", "rows", "--json").document == before
    assert pipeline.run().code == 0
    assert len(pipeline.fake.executions) == 40
    assert pipeline.fake.executed_twice() == []


def test_without_a_terminal_yes_is_needed(pipeline: Pipeline) -> None:
    done = call("run", *pipeline.job())
    assert done.code == 2
    assert "--yes" in done.error
    assert "40 to send" in done.err
    assert call("jobs", "--json").document == []


def test_limits_refuse_before_anything_is_sent(pipeline: Pipeline) -> None:
    refused = pipeline.run("--max-requests", "39")
    assert refused.code == 5
    assert "--max-requests 39" in refused.error
    unknown = pipeline.run("--max-cost", "100")
    assert unknown.code == 5
    assert "price" in unknown.error
    assert pipeline.fake.calls == []
    assert pipeline.run("--max-requests", "40").code == 0


def test_the_brake_holds_and_resume_goes_on(pipeline: Pipeline) -> None:
    pipeline.fake.rows = lambda ordinal, attempt: "400"
    held = pipeline.run("--set", "batch.rows=25", "--set", "batch.in_flight=1")
    assert held.code == 5
    assert "overnight resume" in held.err
    assert "overnight show" in held.err
    assert call("watch", "rows").code == 5
    assert call("status", "rows", "--json").document["hold"]["kind"] == "brake"
    pipeline.fake.rows = fails("ok")
    done = call("resume", "rows", "--json")
    assert done.code == 3
    assert done.document["outcomes"] == {"errored": 25, "succeeded": 15}


def test_submit_returns_and_collect_brings_home(pipeline: Pipeline, place: Path) -> None:
    pipeline.fake.takes = 3600.0
    sent = call("submit", *pipeline.job("-o", "out.csv"), "--yes")
    assert sent.code == 0
    assert "at the provider: going on: 1 batch" in sent.err
    assert call("collect", "--json").document[0]["end"] == "once"
    pipeline.fake.takes = 0.0
    time.sleep(0.05)  # one poll
    done = call("collect", "--json", "--on-done", "echo $OVERNIGHT_JOB $OVERNIGHT_STATUS $OVERNIGHT_EXIT > done.txt")
    assert (done.code, done.document[0]["end"]) == (0, "finished")
    assert len(read_table(place / "out.csv")) == 40
    assert (place / "done.txt").read_text().split()[1:] == ["finished", "0"]
    assert call("collect", "--json").document == []


def test_cancel_tells_what_ran(pipeline: Pipeline) -> None:
    pipeline.fake.takes = 3600.0
    call("submit", *pipeline.job(), "--yes")
    assert call("cancel", "rows").code == 0
    ended = call("watch", "rows", "--json")
    assert ended.code == 3
    assert ended.document["state"] == "canceled"
    assert ended.document["outcomes"] == {"canceled": 40}


def test_on_done_hears_of_the_end(pipeline: Pipeline, place: Path) -> None:
    pipeline.fake.rows = fails("400", 3)
    pipeline.run("-o", "out.csv", "--on-done", "env | grep OVERNIGHT_ > seen.txt; exit 7")
    seen = dict(line.split("=", 1) for line in (place / "seen.txt").read_text().splitlines())
    assert seen["OVERNIGHT_EXIT"] == "3"
    assert seen["OVERNIGHT_STATUS"] == "finished"
    assert seen["OVERNIGHT_OUTPUT"] == str(place / "out.csv")


def test_results_for_people_and_machines(pipeline: Pipeline, place: Path) -> None:
    pipeline.run("--limit", "3")
    lines = [json.loads(line) for line in call("results", "rows").out.splitlines()]
    assert call("results", "rows", "--json").document == lines
    assert [line["id"] for line in lines] == ["k0", "k1", "k2"]
    told = call("results", "rows", "-o", "out.jsonl", "--json").document
    assert told["outcomes"] == {"succeeded": 3}
    assert len((place / "out.jsonl").read_text().splitlines()) == 3
    assert call("results", "rows", "--failed", "--json").document == []


def test_partial_results_while_it_runs(pipeline: Pipeline, place: Path) -> None:
    pipeline.fake.takes = 3600.0
    call("submit", *pipeline.job(), "--yes")
    refused = call("results", "rows", "-o", "out.csv")
    assert refused.code == 2
    assert "--partial" in refused.error
    assert call("results", "rows", "--partial", "-o", "out.csv").code == 0
    assert {row["status"] for row in read_table(place / "out.csv")} == {"pending"}


def test_clean_refuses_what_is_not_exported(pipeline: Pipeline) -> None:
    pipeline.run()
    refused = call("clean", "rows")
    assert refused.code == 2
    assert "overnight results" in refused.error
    call("results", "rows", "-o", "out.csv")
    assert call("clean", "rows", "--json").document["freed_bytes"] > 0
    assert call("jobs", "--json").document == []


def test_a_new_job_of_the_same_is_the_one_that_is_meant(pipeline: Pipeline) -> None:
    first = pipeline.run("--limit", "1", "--json").document["job"]
    second = pipeline.run("--limit", "1", "--new", "--json").document["job"]
    assert second != first
    assert pipeline.run("--limit", "1", "--json").document["job"] == second
    assert len(pipeline.fake.executions) == 2


def test_a_changed_source_stops(pipeline: Pipeline, place: Path) -> None:
    pipeline.run()
    write_rows(place / "rows.csv", 41)
    done = pipeline.run()
    assert done.code == 2
    assert "--new" in done.error
    write_rows(place / "rows.csv", 40)
    assert pipeline.run().code == 0


def test_reconcile_decides_about_a_held_submission(pipeline: Pipeline) -> None:
    pipeline.run("--limit", "2")
    assert "nothing is to be decided" in call("reconcile", "rows").err
    asked = call("reconcile", "rows", "--absent", "0123")
    assert asked.code == 2
    assert "--yes" in asked.error
    unknown = call("reconcile", "rows", "--absent", "0123", "--yes")
    assert unknown.code == 2
    assert "has no batch 0123" in unknown.error


def test_a_spec_file_and_what_a_command_stands_for(pipeline: Pipeline, place: Path) -> None:
    shown = call("run", *pipeline.job("--labels", "a, b", "--set", "policy.retries=3", "--print-spec"))
    assert shown.code == 0
    (place / "job.yaml").write_text(shown.out)
    again = call("run", "job.yaml", "--print-spec", "--json")
    assert again.document["policy"] == {"retries": 3}
    assert again.document["answer"] == {"labels": ["a", "b"]}
    assert again.document["source"] == str(place / "rows.csv")
    assert call("run", "job.yaml", "--limit", "2", "--yes").code in {0, 3}


def test_init_writes_a_spec_that_loads(place: Path) -> None:
    assert call("init", "new.yaml").code == 0
    assert call("run", "new.yaml", "--print-spec").code == 0
    again = call("init", "new.yaml")
    assert again.code == 2
    assert "exists" in again.error


def test_doctor_names_the_account_and_hides_the_key(pipeline: Pipeline) -> None:
    pipeline.run("--limit", "1")
    done = call("doctor", "rows", "--json")
    assert done.code == 0
    assert "org-fake" in done.document["account"]
    assert "sk-fake" not in done.out
    assert {"name": "OPENAI_API_KEY", "value": "present", "origin": "environment"} in done.document["settings"]


def test_interrupted_says_how_to_go_on_and_a_second_process_takes_over(pipeline: Pipeline, place: Path) -> None:
    pipeline.fake.takes = 3600.0
    running = subprocess.Popen(
        command("run", *pipeline.job("-o", "out.csv"), "--yes"),
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    wait_until(lambda: any(batch.status == "in_progress" for batch in pipeline.fake.made.values()))
    watching = subprocess.Popen(command("watch", "rows"), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    assert watching.stderr is not None
    assert "being run by another process: watching" in watching.stderr.readline()
    running.send_signal(signal.SIGINT)
    told = running.communicate()[1]
    assert running.returncode == 130
    assert "at the provider: going on: 1 batch" in told
    assert "go on: overnight watch rows-" in told
    pipeline.fake.takes = 0.0
    told = watching.communicate()[1]
    assert watching.returncode == 0, told
    assert len(read_table(place / "out.csv")) == 40
    assert pipeline.fake.executed_twice() == []


def test_a_killed_run_goes_on_where_it_was(pipeline: Pipeline, place: Path) -> None:
    pipeline.fake.takes = 3600.0
    running = subprocess.Popen(command("run", *pipeline.job(), "--yes"), stderr=subprocess.DEVNULL)
    wait_until(lambda: bool(pipeline.fake.made))
    running.kill()
    running.wait()
    pipeline.fake.takes = 0.0
    assert pipeline.run("-o", "out.csv").code == 0
    assert len(read_table(place / "out.csv")) == 40
    assert pipeline.fake.executed_twice() == []


def test_whoever_stops_reading_hears_no_complaint(pipeline: Pipeline) -> None:
    pipeline.run("--limit", "40")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command("results", "rows"), stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_standard_output_is_told(pipeline: Pipeline) -> None:
    pipeline.run("--limit", "2")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command("results", "rows"), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def wait_until(true) -> None:
    until = time.monotonic() + 20
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_whole_way_with_our_own_server(place: Path) -> None:
    """The real command and the real server, as processes."""
    argv = ("run", "rows.csv", "-m", "fake/echo", "-p", "{{ text }}", "--key", "id", "-o", "out.csv")
    done = process(*argv, "--yes")
    assert done.code == 0, done.err
    assert done.out == ""
    assert [row["answer"] for row in read_table(place / "out.csv")] == [f"text {at}" for at in range(40)]
    again = process(*argv, "--json")
    assert again.code == 0
    assert again.document["cost_usd"] == 0
    assert json.loads(process("show", "rows", "k5", "--json").out)["attempts"][0]["outcome"] == "succeeded"
    assert process("retry", "rows").code == 0
    assert process("status", "rows", "--json").document["state"] == "finished"
    home = Path(os.environ["OVERNIGHT_HOME"])
    assert list((home / "local").iterdir())
    assert process("clean", "rows").code == 0
    assert not list((home / "local").iterdir())
