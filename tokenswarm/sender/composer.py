"""What the next request says: synthetic prompts, dataset questions, turns of conversations. No I/O, no clock."""

from __future__ import annotations

import random
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenswarm.apis.embeddings import EmbeddingsRequest
from tokenswarm.apis.request import ChatRequest, RagRequest
from tokenswarm.config.settings import Settings
from tokenswarm.payload.tool_calls import Called, ToolCall
from tokenswarm.traffic.recorded import RecordedRequest
from tokenswarm.traffic.replay import Changes, RecordedGraph, Replay, Sent
from tokenswarm.workload.arrivals import Arrival
from tokenswarm.workload.distributions import Length
from tokenswarm.workload.prompts import build_messages, build_prompt, estimate_messages, estimate_tokens
from tokenswarm.workload.questions import Question, QuestionSource

FURTHER = 7919
"""So far from a session's question stands what its second turn asks; a prime, so that files are not met in step."""
MADE_UP_TOKENS = 100
"""Length of a made-up answer where the scenario says no max-tokens."""


@dataclass(slots=True)
class Conversation:
    """One user's conversation while it goes on. `turn` is the last one asked; `last_turn` ends it; of one that was
    joined in its middle `joined_after` turns were made up."""

    id: str | None
    """The service's, once it has given one; of a chat, one made up here before."""
    session_id: str | None
    question: Question | None
    last_turn: int
    turn: int = 0
    joined_after: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    answer_id: str | None = None
    """Of the last answer, where the service gave one an id."""
    images: list[str] = field(default_factory=list)
    """Of the last turn."""
    called: tuple[ToolCall, ...] = ()
    """Calls of tools in the last answer, whose results come next."""
    rounds: int = 0
    """Answers of the last turn that have called tools."""

    @property
    def over(self) -> bool:
        return self.turn >= self.last_turn and not self.called


class Composer:
    """Composes one virtual user's requests. Draws come from `rng`; with an arrival, from the arrival's own index. The
    words of texts also depend on the run's salt."""

    def __init__(
        self,
        settings: Settings,
        questions: QuestionSource | None,
        rng: random.Random,
        name: str,
        replay: Replay | None = None,
    ) -> None:
        self._settings = settings
        self._questions = questions
        self._replay = replay
        self._rng = rng
        self._salt = settings.traffic.salt
        self._words = random.Random(f"{rng.random()}:{self._salt}")
        """Of texts that no arrival decides: they differ from run to run, what else is drawn does not."""
        self._name = name
        self._conversation: Conversation | None = None
        self._places: deque[int] = deque()
        """Where the further requests of the recorded session that is on stand in their file."""
        self._answers: dict[int, str] = {}
        self._said: int | None = None
        self._arrival = 0
        """Index of the arrival that began the session that is on."""
        self._first = True
        self.gave_up = False
        """Whether the last session has ended with calls of tools that nobody answered."""

    def next_chat(self, arrival: Arrival | None) -> ChatRequest:
        """The next chat request: a turn of the current conversation, or the first of a new one."""
        conversation = self._current(arrival, is_chat=True)
        while conversation.turn < conversation.joined_after:
            self._make_up_turn(conversation, arrival)
        if conversation.called:
            context_tokens = self._add_results(conversation)
        else:
            context_tokens = self._next_turn(conversation, arrival)
            conversation.images, conversation.rounds = self._images(arrival), 0
        question = conversation.question
        output = self._output_tokens(arrival, question)
        tools = self._settings.traffic.tools
        multi = conversation.last_turn > 1 or tools is not None
        expect = question.expected_at(conversation.turn) if question else None
        judge = None
        if expect is not None:
            judge = expect.columns if tools is None else expect.judge_of_round(conversation.rounds == 0)
        return ChatRequest(
            messages=list(conversation.messages),
            max_tokens=output,
            max_tokens_field=self._settings.max_tokens_field,
            context_tokens=context_tokens,
            stream=self._settings.stream,
            stream_usage=self._settings.stream_usage,
            keep_calls=tools is not None,
            keep_text=multi or expect is not None or self._settings.answers_sample_pct > 0,
            judge=judge,
            images=conversation.images,
            previous_id=conversation.answer_id if self._settings.by_reference else None,
            name=self._name,
            conversation_id=conversation.id if multi else None,
            session_id=conversation.session_id if multi else None,
            turn=conversation.turn if multi else None,
            question_id=question.id if question else None,
            body=self._body(arrival),
            abort_after_s=self._abort_after_s(arrival),
        )

    def next_recorded(self, arrival: Arrival | None) -> RecordedRequest:
        """The next recorded request, of the session that is on or of the next arrival, with what the run says of
        requests."""
        assert self._replay is not None
        if not self._places:
            number = self._replay.next_number() if arrival is None else arrival.index
            self._places, self._answers = deque(self._replay.places(number)), {}
        answers = self._answers if self._settings.traffic.feeds_back else None
        sent = Sent(self._name, self._abort_after_s(arrival), answers)
        request = self._replay.request(self._places.popleft(), self._changes(arrival), sent)
        self._said = request.said
        return request

    def next_graph(self, arrival: Arrival | None) -> RecordedGraph:
        """The next recorded session of steps."""
        assert self._replay is not None
        return self._replay.graph(self._replay.next_number() if arrival is None else arrival.index)

    def step_of(self, graph: RecordedGraph, position: int) -> RecordedRequest:
        """A step's request, with what the run says of requests."""
        return graph.request(position, self._changes(None), Sent(self._name, self._abort_after_s(None)))

    def _add_results(self, conversation: Conversation) -> int:
        """Put in what the tools gave; returns the prompt tokens of all that is said."""
        tools = self._settings.traffic.tools
        assert tools is not None
        conversation.messages += [
            {"role": "tool", "tool_call_id": call.id, "content": tools.results[call.name].text}
            for call in conversation.called
        ]
        conversation.called = ()
        return estimate_messages(conversation.messages)

    def _take_calls(self, conversation: Conversation, called: Called) -> None:
        """An answer calls tools, which are asked unless one is none of ours or there have been too many rounds."""
        tools = self._settings.traffic.tools
        assert tools is not None
        conversation.rounds += 1
        known = all(call.name in tools.results for call in called.calls)
        if not known or conversation.rounds > tools.rounds:
            self.gave_up, self._conversation = True, None
            return
        conversation.messages += map(dict, called.said)
        conversation.called = called.calls

    @property
    def goes_on(self) -> bool:
        """Whether the session that is on has a next request."""
        return bool(self._places) or self._conversation is not None

    def pause_s(self) -> float:
        """s between an answer and the next request."""
        tools, conversation = self._settings.traffic.tools, self._conversation
        if tools is not None and conversation is not None and conversation.called:
            return tools.time_s([call.name for call in conversation.called], self._rng)
        return (self._settings.traffic.tool_time or self._settings.think_time).sample(self._rng)

    def _changes(self, arrival: Arrival | None) -> Changes:
        chat, traffic = self._settings.chat, self._settings.traffic
        return Changes(
            model=chat.deployment if chat is not None else "",
            stream=traffic.stream,
            stream_usage=traffic.stream_usage,
            max_tokens=self._output_tokens(arrival, None),
            fields=self._body(arrival),
        )

    def next_texts(self, arrival: Arrival | None) -> EmbeddingsRequest:
        """The next texts to embed: questions of the dataset, or synthetic ones."""
        count = self._settings.batch.sample(self._draws(arrival, "texts")) or 1
        words = self._words_of(arrival, "texts")
        pairs = [self._text(arrival, words) for _ in range(count)]
        texts, tokens = [text for text, _ in pairs], sum(tokens for _, tokens in pairs)
        return EmbeddingsRequest(
            texts=texts,
            name=self._name,
            context_tokens=tokens,
            body=self._body(arrival),
            abort_after_s=self._abort_after_s(arrival),
        )

    def _text(self, arrival: Arrival | None, rng: random.Random) -> tuple[str, int]:
        """A text by itself and its tokens."""
        if self._questions is not None:
            text = self._questions.next().question
            return text, estimate_tokens(text)
        tokens = self._context_tokens(arrival)
        return build_prompt(rng, tokens, unique=self._settings.unique_prefix), tokens

    def _body(self, arrival: Arrival | None) -> Mapping[str, Any]:
        """Further fields of the next request's body."""
        body = self._settings.body
        if not body.is_drawn:
            return body.fields
        return body.sample(self._draws(arrival, "body"))

    def _abort_after_s(self, arrival: Arrival | None) -> float | None:
        """s after which the next request's user leaves."""
        abort = self._settings.abort
        return None if abort is None else abort.sample(self._draws(arrival, "abort"))

    def _images(self, arrival: Arrival | None) -> list[str]:
        images = self._settings.images
        return [] if images is None else images.sample(self._words_of(arrival, "images"))

    def _draws(self, arrival: Arrival | None, what: str) -> random.Random:
        """Chance for one thing of a request: an arrival's own, whoever sends it."""
        return self._rng if arrival is None else random.Random(f"{self._settings.seed}:{arrival.index}:{what}")

    def _next_turn(self, conversation: Conversation, arrival: Arrival | None) -> int:
        """Put the user's next text in; returns the prompt tokens of all that is said."""
        conversation.turn += 1
        if conversation.turn > 1 or conversation.question is not None:
            self._add_turn(conversation)
            return estimate_messages(conversation.messages)
        rng = self._words_of(arrival, "prompt")
        if self._settings.chat is not None and self._settings.chat.asks == "completions":
            text, tokens = self._text(arrival, rng)
            conversation.messages = [{"role": "user", "content": text}]
            return tokens
        prompt = build_messages(
            rng,
            self._context_tokens(arrival),
            self._settings.system_prompt,
            self._settings.unique_prefix,
            arrival.prefix_blocks if arrival else None,
            salt=self._salt,
        )
        conversation.messages = prompt.messages
        return prompt.context_tokens

    def _words_of(self, arrival: Arrival | None, what: str) -> random.Random:
        """Draws the words of a text: those of an arrival's are the same whoever sends it."""
        return self._words if arrival is None else self._draws(arrival, f"{what}:{self._salt}")

    def _make_up_turn(self, conversation: Conversation, arrival: Arrival | None) -> None:
        """A turn that lies before the user's first request: nobody was asked, so the answer is made up."""
        self._next_turn(conversation, arrival)
        tokens = self._output_tokens(arrival, conversation.question) or MADE_UP_TOKENS
        answer = build_prompt(self._words, tokens, unique=True)
        conversation.messages.append({"role": "assistant", "content": answer})

    def next_question(self, arrival: Arrival | None) -> RagRequest:
        """The next question to an orchestrator: in the current conversation, or the first of a new one."""
        conversation = self._current(arrival, is_chat=False)
        conversation.turn += 1
        question = conversation.question
        if question is None or (conversation.turn > 1 and len(question.turns) < conversation.turn):
            question = self._question(arrival)
            text, expect = question.question, question.expected_at(1)
        else:
            text, expect = question.turns[conversation.turn - 1], question.expected_at(conversation.turn)
        return RagRequest(
            question=text,
            judge=expect.columns if expect else None,
            conversation_id=conversation.id,
            turn=conversation.turn,
            question_id=question.id,
            context_tokens=estimate_tokens(text),
            name=self._name,
            abort_after_s=self._abort_after_s(arrival),
        )

    def answer(
        self,
        text: str,
        conversation_id: str | None,
        ok: bool,
        answer_id: str | None = None,
        called: Called | None = None,
    ) -> None:
        """What came back: a chat answer is fed back as history; a failed turn ends its conversation. `answer_id`: by
        which the service knows it; `called`: the tools that it calls."""
        conversation, self.gave_up = self._conversation, False
        if not ok:
            self._places.clear()
        if self._said is not None:
            self._answers[self._said] = text
        if conversation is None:
            return
        if ok and called is not None:
            conversation.answer_id = answer_id
            self._take_calls(conversation, called)
            return
        if not self._settings.traffic.feeds_back:
            text = recorded_answer(conversation) or text
        if not ok or conversation.over:
            self._conversation = None
            return
        conversation.messages.append({"role": "assistant", "content": text})
        conversation.id = conversation_id or conversation.id
        conversation.answer_id = answer_id

    def _current(self, arrival: Arrival | None, is_chat: bool) -> Conversation:
        if self._conversation is None or self._conversation.over:
            self._conversation = self._new(arrival, is_chat)
        return self._conversation

    def _new(self, arrival: Arrival | None, is_chat: bool) -> Conversation:
        question = self._question(arrival) if self._questions is not None else None
        turns = max(
            self._settings.turns.sample(self._rng) or 1,
            len(question.turns) if question and len(question.turns) > 1 else 1,
        )
        joined_after = 0
        if self._first:  # users who join in mid-conversation keep the turns from marching in step
            self._first = False
            joined_after = min(turns, self._settings.start_turn.sample(self._rng) or 1) - 1
        if not is_chat:  # the orchestrator keeps the history itself, and has none of turns that were not asked
            return Conversation(None, None, question, turns - joined_after)
        made_up = uuid.uuid4().hex
        conversation = Conversation(made_up, made_up, question, turns, joined_after=joined_after)
        if question is not None:
            system = question.system or self._settings.system_prompt
            conversation.messages = [{"role": "system", "content": system}] if system else []
        return conversation

    def _add_turn(self, conversation: Conversation) -> None:
        """The user's next text: the dataset's turn, a further question, or synthetic words."""
        question = conversation.question
        if question is not None and conversation.turn <= len(question.turns):
            text = question.turns[conversation.turn - 1]
        elif question is not None:
            text = self._question(None).question
        else:
            further = self._settings.traffic.step_tokens
            tokens = self._context_tokens(None) if further is None else further.sample(self._rng) or 1
            text = build_prompt(self._words, tokens, unique=True)
        conversation.messages.append({"role": "user", "content": text})

    def _question(self, arrival: Arrival | None) -> Question:
        assert self._questions is not None
        if arrival is not None:
            self._arrival = arrival.index
        elif self._settings.traffic.sessions and self._settings.open_load and self._conversation is not None:
            return self._questions.at(self._arrival + FURTHER * self._conversation.turn)
        return self._questions.next() if arrival is None else self._questions.at(arrival.index)

    def _context_tokens(self, arrival: Arrival | None) -> int:
        if arrival is not None and arrival.context_tokens is not None:
            return arrival.context_tokens
        return self._settings.context.sample(self._rng) or 1

    def _output_tokens(self, arrival: Arrival | None, question: Question | None) -> int | None:
        if arrival is not None and arrival.max_tokens is not None:
            return arrival.max_tokens
        if question is not None and question.max_tokens is not None:
            return question.max_tokens
        output: Length | None = self._settings.output
        return output.sample(self._rng) if output is not None else None


def recorded_answer(conversation: Conversation) -> str | None:
    """What the file has as the answer to the last turn; `None` where it has none."""
    messages = conversation.question.messages if conversation.question is not None else None
    turn = 0
    for message in messages or ():
        turn += message.role == "user" and bool(message.content.strip())
        if turn == conversation.turn and message.role == "assistant":
            return message.content
    return None
