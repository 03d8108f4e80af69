"""What the next request says: synthetic prompts, dataset questions, turns of conversations. No I/O, no clock."""

from __future__ import annotations

import random
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from tokenswarm.apis.embeddings import EmbeddingsRequest
from tokenswarm.apis.request import ChatRequest, RagRequest
from tokenswarm.config.settings import Settings
from tokenswarm.payload.tool_calls import Called
from tokenswarm.recordings.graph import made_up_steps
from tokenswarm.sender.conversation import Conversation, id_of, recorded_answer
from tokenswarm.sender.session_graphs import Answers, MadeUpSteps, RecordedSteps, SessionGraph
from tokenswarm.traffic.prefixes import Beginning
from tokenswarm.traffic.recorded import RecordedRequest, Said
from tokenswarm.traffic.replay import Changes, RecordedGraph, Replay, Sent
from tokenswarm.traffic.seen_prefixes import SeenPrefixes
from tokenswarm.workload.arrivals import Arrival
from tokenswarm.workload.prompts import (
    BLOCK_TOKENS,
    Shared,
    build_messages,
    build_prompt,
    estimate_messages,
    estimate_tokens,
    system_tokens,
)
from tokenswarm.workload.questions import Question, QuestionSource

FURTHER = 7919
"""So far from a session's question stands what its second turn asks; a prime, so that files are not met in step."""
MADE_UP_TOKENS = 100
"""Length of a made-up answer where the scenario says no max-tokens."""


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
        seen: SeenPrefixes | None = None,
    ) -> None:
        """`seen`: what earlier prompts of recorded traffic began with."""
        self._settings = settings
        self._questions = questions
        self._replay = replay
        self._seen = seen
        self._rng = rng
        self._salt = settings.traffic.salt
        self._words = random.Random(f"{rng.random()}:{self._salt}")
        """Of texts that no arrival decides: they differ from run to run, what else is drawn does not."""
        self._name = name
        self._conversation: Conversation | None = None
        self._places: deque[int] = deque()
        """Where the further requests of the recorded session that is on stand in their file."""
        self._answers: Answers = []
        self._said: Said | None = None
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
            shared_tokens: int | None = estimate_messages(conversation.messages)
            context_tokens = self._add_results(conversation)
        else:
            context_tokens, shared_tokens = self._next_turn(conversation, arrival)
            conversation.images, conversation.rounds = self._images(arrival), 0
        return self._chat_request(conversation, arrival, context_tokens, shared_tokens)

    def _chat_request(
        self, conversation: Conversation, arrival: Arrival | None, context_tokens: int, shared_tokens: int | None
    ) -> ChatRequest:
        """A conversation as it stands, as a request."""
        question, tools = conversation.question, self._settings.traffic.tools
        multi = conversation.last_turn > 1 or tools is not None
        expect = question.expected_at(conversation.turn) if question else None
        judge = None
        if expect is not None:
            judge = expect.columns if tools is None else expect.judge_of_round(conversation.rounds == 0)
        return ChatRequest(
            messages=list(conversation.messages),
            max_tokens=self._output_tokens(arrival, question),
            max_tokens_field=self._settings.max_tokens_field,
            context_tokens=context_tokens,
            shared_tokens=shared_tokens,
            seen_share=None if self._seen is None else self._seen.share(conversation.said()),
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
            question_id=id_of(conversation),
            body=self._body(arrival),
            abort_after_s=self._abort_after_s(arrival),
            is_recorded=self._settings.traffic.recording is not None,
        )

    def next_recorded(self, arrival: Arrival | None) -> RecordedRequest:
        """The next recorded request, of the session that is on or of the next arrival, with what the run says of
        requests."""
        assert self._replay is not None
        if not self._places:
            number = self._replay.next_number() if arrival is None else arrival.index
            self._places, self._answers = deque(self._replay.places(number)), []
        answers = self._answers if self._settings.traffic.feeds_back else None
        sent = Sent(self._name, self._abort_after_s(arrival), answers, self._seen)
        request = self._replay.request(self._places.popleft(), self._changes(arrival), sent)
        self._said = request.said
        return request

    def next_graph(self, arrival: Arrival | None) -> SessionGraph:
        """The next session of steps."""
        if self._replay is None:
            return self._made_up_graph(arrival)
        graph = self._replay.graph(self._replay.next_number() if arrival is None else arrival.index)
        return RecordedSteps(graph, self._settings.traffic.feeds_back, self._recorded_step)

    def _recorded_step(self, graph: RecordedGraph, position: int, answers: Answers | None) -> RecordedRequest:
        """A step's request, with what the run says of requests."""
        sent = Sent(self._name, self._abort_after_s(None), answers, self._seen)
        return graph.request(position, self._changes(None), sent)

    def _made_up_graph(self, arrival: Arrival | None) -> MadeUpSteps:
        """A session of steps about one conversation, which parts and comes together again."""
        conversation, fan_out = self._new(arrival, is_chat=True), self._settings.traffic.fan_out
        assert fan_out is not None
        steps = made_up_steps(conversation.last_turn, lambda: fan_out.sample(self._rng) or 1, self.pause_s)
        opening_tokens, opening_shared = self._first_turn(conversation, arrival)

        def compose(messages: list[dict[str, str]], depth: int) -> ChatRequest:
            conversation.messages, conversation.turn = messages, depth + 1
            conversation.images = self._images(arrival if depth == 0 else None)
            if depth == 0:
                return self._chat_request(conversation, arrival, opening_tokens, opening_shared)
            said_before = estimate_messages(messages[:-1])
            return self._chat_request(conversation, None, estimate_messages(messages), said_before)

        return MadeUpSteps(steps, conversation.messages, self._further_text, compose)

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

    def _text(self, arrival: Arrival | None, rng: random.Random, shared: Sequence[Shared] = ()) -> tuple[str, int]:
        """A text by itself and its tokens."""
        if self._questions is not None:
            text = self._questions.next().question
            return text, estimate_tokens(text)
        tokens = self._context_tokens(arrival)
        blocks, size = _blocks_of(arrival)
        unique, salt = self._settings.unique_prefix, self._salt
        return build_prompt(rng, tokens, unique, blocks, salt=salt, shared=shared, block_tokens=size), tokens

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

    def _next_turn(self, conversation: Conversation, arrival: Arrival | None) -> tuple[int, int | None]:
        """Put the user's next text in; returns the prompt tokens of all that is said, and of these those that other
        prompts begin with, too: `None` where that is not known."""
        conversation.turn += 1
        if conversation.turn > 1 or conversation.question is not None:
            said_before = estimate_messages(conversation.messages) if conversation.turn > 1 else None
            self._add_turn(conversation)
            return estimate_messages(conversation.messages), said_before
        return self._first_turn(conversation, arrival)

    def _first_turn(self, conversation: Conversation, arrival: Arrival | None) -> tuple[int, int | None]:
        rng, prefix = self._words_of(arrival, "prompt"), self._settings.traffic.prefix
        begin = Beginning((), None) if prefix is None else prefix.draw(self._draws(arrival, "document"))
        conversation.document = begin.document
        is_known = self._settings.unique_prefix and not (arrival and arrival.prefix_blocks)
        if self._settings.chat is not None and self._settings.chat.asks == "completions":
            text, tokens = self._text(arrival, rng, begin.texts)
            conversation.messages = [{"role": "user", "content": text}]
            return tokens, min(begin.tokens, tokens) if is_known else None
        blocks, size = _blocks_of(arrival)
        prompt = build_messages(
            rng,
            self._context_tokens(arrival),
            self._settings.system_prompt,
            self._settings.unique_prefix,
            blocks,
            salt=self._salt,
            shared=begin.texts,
            block_tokens=size,
        )
        conversation.messages = prompt.messages
        shared_tokens = begin.tokens + system_tokens(self._settings.system_prompt)
        return prompt.context_tokens, min(shared_tokens, prompt.context_tokens) if is_known else None

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
            self._answers.append((self._said, text))
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
        turns = max(self._settings.turns.sample(self._rng) or 1, len(question.turns) if question else 1)
        joined_after = 0
        if self._first:  # users who join in mid-conversation keep the turns from marching in step
            self._first = False
            joined_after = min(turns, self._settings.start_turn.sample(self._rng) or 1) - 1
        if not is_chat:  # the orchestrator keeps the history itself, and has none of turns that were not asked
            return Conversation(None, None, question, turns - joined_after)
        made_up = uuid.uuid4().hex if turns > 1 or self._settings.traffic.tools is not None else None
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
            text = self._further_text()
        conversation.messages.append({"role": "user", "content": text})

    def _further_text(self) -> str:
        """Words that a further turn or step adds."""
        further = self._settings.traffic.step_tokens
        tokens = self._context_tokens(None) if further is None else further.sample(self._rng) or 1
        return build_prompt(self._words, tokens, unique=True)

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
        output = self._settings.output
        return output.sample(self._rng) if output is not None else None


def _blocks_of(arrival: Arrival | None) -> tuple[tuple[int, ...] | None, int]:
    """The blocks that a prompt begins with, as its trace has it, and how many tokens one has."""
    return (None, BLOCK_TOKENS) if arrival is None else (arrival.prefix_blocks, arrival.block_tokens)
