"""CPU of reading a chunk, by API: `python -m benchmarks.reading`

Answers of each API, an event a read as they come from a model, are fed to the readers in turn, and again, so that what
else the machine does falls on all of them alike; the least of the rounds counts. Exit code 1 when an API takes more
than 1.3 times what chat completions take.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from benchmarks.runs import describe_machine
from tokenswarm.apis.api import Reader
from tokenswarm.apis.chat_completions import ChatStream
from tokenswarm.apis.completions import CompletionStream
from tokenswarm.apis.messages import MessageStream
from tokenswarm.apis.responses import ResponseStream

WORDS = ("the", " quick", " brown", " fox", ".", " and", " 42")
MOST = 1.3
_ITEM = "msg_" + "0123456789abcdef" * 3


def _chat(at: int, word: str) -> str:
    choice = f'{{"index":0,"delta":{{"content":"{word}"}},"finish_reason":null}}'
    return f'data: {{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{choice}]}}\n\n'


def _completions(at: int, word: str) -> str:
    choice = f'{{"index":0,"text":"{word}","logprobs":null,"finish_reason":null}}'
    return f'data: {{"id":"c","object":"text_completion","created":1,"model":"m","choices":[{choice}]}}\n\n'


def _responses(at: int, word: str) -> str:
    item = f'"item_id":"{_ITEM}","output_index":0,"content_index":0,"delta":"{word}","logprobs":[]'
    head = f'"type":"response.output_text.delta","sequence_number":{at + 4}'
    return f'event: response.output_text.delta\ndata: {{{head},{item},"obfuscation":"{"x" * (at * 7 % 16)}"}}\n\n'


def _messages(at: int, word: str) -> str:
    delta = f'"delta":{{"type":"text_delta","text":"{word}"}}{" " * (at * 5 % 12)}'
    return f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":0,{delta}}}\n\n'


APIS: dict[str, tuple[Callable[[], Reader], Callable[[int, str], str]]] = {
    "chat": (ChatStream, _chat),
    "completions": (CompletionStream, _completions),
    "responses": (ResponseStream, _responses),
    "messages": (MessageStream, _messages),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--chunks", type=int, default=100, help="of an answer")
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    answers = {
        name: [make(at, WORDS[at % len(WORDS)]).encode() for at in range(args.chunks)]
        for name, (_, make) in APIS.items()
    }
    least = dict.fromkeys(APIS, float("inf"))
    for _ in range(args.rounds):
        for name, (kind, _) in APIS.items():
            least[name] = min(least[name], _ns_per_chunk(kind, answers[name]))
    print(
        f"{describe_machine()}; answers of {args.chunks} chunks\n\n| API | CPU/chunk, ns | of chat |\n|---|---:|---:|"
    )
    for name, ns in least.items():
        print(f"| {name} | {ns:.0f} | {ns / least['chat']:.2f} |")
    return int(max(least.values()) > MOST * least["chat"])


def _ns_per_chunk(kind: Callable[[], Reader], chunks: list[bytes], answers: int = 10) -> float:
    begun = time.process_time_ns()
    for _ in range(answers):
        reader, at_ms = kind(), 0.0
        for chunk in chunks:
            at_ms += 20.0
            reader.feed(chunk, at_ms, at_ms)
    return (time.process_time_ns() - begun) / answers / len(chunks)


if __name__ == "__main__":
    sys.exit(main())
