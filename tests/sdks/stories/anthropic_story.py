"""The life of a message batch and what can go wrong with it, as the anthropic SDK tells it: `STORY URL`."""

import contextlib
import sys
import time

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="any", max_retries=0)
batches = client.messages.batches


def request(name, text, **more):
    messages = [{"role": "user", "content": text}]
    return {"custom_id": name, "params": {"model": "m-1", "max_tokens": 20, "messages": messages, **more}}


def until_over(batch_id):
    for _ in range(600):
        batch = batches.retrieve(batch_id)
        if batch.processing_status == "ended":
            return batch
        time.sleep(0.05)
    raise AssertionError(batch)


def refused(kind, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


requests = [request("a", "one"), request("b", "two"), request("c", "three", stream=True)]
batch = batches.create(requests=requests)
assert batch.type == "message_batch"
done = until_over(batch.id)
counts = done.request_counts
assert (counts.processing, counts.succeeded, counts.errored) == (0, 2, 1), counts
results = {each.custom_id: each.result for each in batches.results(batch.id)}
assert {name: result.type for name, result in results.items()} == {"a": "succeeded", "b": "succeeded", "c": "errored"}
assert results["a"].message.content[0].text == "one"
assert results["a"].message.usage.input_tokens > 0
assert "stream=True" in results["c"].error.error.message

second = batches.create(requests=[request("d", "four")])
listed = [each.id for each in batches.list(limit=1)]
assert listed[:2] == [second.id, batch.id], listed
until_over(second.id)
assert batches.delete(second.id).id == second.id
refused(anthropic.NotFoundError, batches.retrieve, second.id)
refused(anthropic.NotFoundError, batches.retrieve, "msgbatch_none")
twice = [request("x", "one"), request("x", "two")]
assert "must be unique" in str(refused(anthropic.BadRequestError, batches.create, requests=twice))
refused(anthropic.BadRequestError, batches.create, requests=[])
canceled = batches.create(requests=[request(f"r{number}", "slow") for number in range(50)])
with contextlib.suppress(anthropic.BadRequestError):  # it was over already
    batches.cancel(canceled.id)
over = until_over(canceled.id)
assert over.request_counts.succeeded + over.request_counts.canceled == 50, over.request_counts

said = client.messages.create(model="m-1", max_tokens=20, messages=[{"role": "user", "content": "now"}])
assert said.content[0].text == "now"
assert said.stop_reason == "end_turn"
with client.messages.stream(model="m-1", max_tokens=20, messages=[{"role": "user", "content": "in pieces"}]) as stream:
    assert "".join(stream.text_stream) == "in pieces"
refused(anthropic.BadRequestError, client.messages.create, model="m-1", max_tokens=20, messages=[])

beta = getattr(client.beta.messages, "batches", None)
if beta is not None:
    third = beta.create(requests=[request("e", "five")])
    until_over(third.id)
    assert [each.result.type for each in beta.results(third.id)] == ["succeeded"]
sys.stdout.write(f"anthropic {anthropic.__version__}\n")
