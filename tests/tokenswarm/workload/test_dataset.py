"""Datasets as files, and the values of their lines (dataset_values)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenswarm.userinput import BadInput
from tokenswarm.workload.dataset import load_dataset, parse_dataset
from tokenswarm.workload.questions import Message, Question

CP1252 = "; by its look it is Windows-1252 (Excel's plain CSV): save it as UTF-8, or iconv -f WINDOWS-1252 -t UTF-8"


def problems_of(data: bytes | str, form: str = "csv") -> list[str]:
    with pytest.raises(BadInput) as caught:
        parse_dataset(data.encode() if isinstance(data, str) else data, form, "d")
    return caught.value.problems


def texts(data: str) -> list[str]:
    return [question.question for question in parse_dataset(data.encode(), "csv")]


def test_one_question_a_line_with_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "dataset.csv"
    path.write_bytes("\ufeffWho founded it?\r\nWhat does it cost? If so how?\r\n\r\n".encode())
    assert load_dataset(path) == [
        Question("1", "Who founded it?", 1, ("Who founded it?",)),
        Question("2", "What does it cost? If so how?", 2, ("What does it cost? If so how?",)),
    ]


def test_quotes_commas_and_lines_within_a_question():
    assert texts('"One, or two?"\n"She said ""no"".\nWhy?"\nlast') == ["One, or two?", 'She said "no".\nWhy?', "last"]


def test_line_is_where_an_entry_begins():
    lines = [question.line for question in parse_dataset(b'"a\nb"\nc\n"d\r\ne"\r\nf', "csv")]
    assert lines == [1, 3, 4, 6]


def test_header_with_every_column_in_any_order():
    data = b"ID, Max_Tokens,question,system\nq-1,50,Why?,Be brief.\n,,How?,\n"
    assert parse_dataset(data, "csv") == [
        Question("q-1", "Why?", 2, ("Why?",), "Be brief.", 50),
        Question("2", "How?", 3, ("How?",)),
    ]


def test_header_of_one_column():
    assert texts("question\nWhy?\n") == ["Why?"]


def test_a_question_longer_than_the_csv_modules_own_limit():
    assert texts("x" * 400_000) == ["x" * 400_000]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("", ["d: expected at least one question, got an empty file"]),
        (" \r\n\n", ["d: expected at least one question, got an empty file"]),
        ("question\n", ["d: expected at least one question, got an empty file"]),
        ("a\n\nb", ["d:2: question: expected text, got a blank"]),
        ('a\n"  "\nb', ["d:2: question: expected text, got a blank"]),
        ("a, b", ["d:1: expected 1 column, got 2; a question with a comma needs quotes"]),
        ('ok\n"open\nand on', ["d:2: quotes: expected a closing quote, got the end of the file"]),
        (
            '"a" b\nc',
            [
                "d:1: quotes: expected a comma or the line's end after a closing quote, got other text "
                "(double a quote to mean it)"
            ],
        ),
        ("id,system\n1,x", ["d:1: header: expected a column question, got id, system"]),
        (
            "question,max_token\na,5",
            ["d:1: header: expected columns among id, question, system, max_tokens, expect, got 'max_token'"],
        ),
        ("question,id,id\na,1,1", ["d:1: header: expected each column once, got 'id' 2 times"]),
        ("id,question\n1", ["d:2: expected 2 columns, got 1"]),
        ("id,question\n1,a\n\n2,b", ["d:3: question: expected text, got a blank line"]),
        ("id,question\n1,a\n1,b", ["d:3: id: expected each once, got '1' as on line 2"]),
        ("id,question\n2,a\n,b", ["d:3: id: expected each once, got '2' as on line 2"]),
        (
            'id,question\n"a\nb",c',
            ["d:2: id: expected 1 to 200 characters without control characters, got 'a\\nb'"],
        ),
        *(
            (
                f"question,max_tokens\na,{bad}",
                [f"d:2: max_tokens: expected a whole number from 1 to 1000000, got {bad!r}"],
            )
            for bad in ("0", "-1", "1.5", "x", "1000001", "9" * 30, "²")
        ),
    ],
)
def test_bad_csv(data, expected):
    assert problems_of(data) == expected


def test_all_problems_are_said_at_once():
    data = 'id,question,max_tokens\n1,,5\n2,b,none\n3,c\n4,"d" e,5\n5,"f'
    assert [problem.split(" expected")[0] for problem in problems_of(data)] == [
        "d:2: question:",
        "d:3: max_tokens:",
        "d:4:",
        "d:5: quotes:",
        "d:6: quotes:",
    ]


def test_a_flood_of_problems_is_cut():
    problems = problems_of("a, b\na, b, c\n" * 250)
    assert len(problems) == 21
    assert problems[-1] == "d: and 480 more"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"ok\nfine\nGr\xfc\xdfe", "d:3: expected UTF-8, got other bytes" + CP1252),
        ("où?".encode("utf-16"), 'd: expected UTF-8, got UTF-16 (save it as UTF-8; in Excel "CSV UTF-8")'),
        (b"a\r\nb\0c", "d:2: expected text, got a NUL character"),
    ],
)
def test_bad_encoding(data, expected):
    assert problems_of(data) == [expected]
    assert problems_of(data, "jsonl") == [expected]


def test_conversations():
    rows = [
        {"id": "holiday", "turns": ["How many days?", "And carried over?"], "system": "Be brief.", "max_tokens": 64},
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello!"},
                {"role": "user", "content": "Bye"},
            ]
        },
        {"id": 7, "question": "Why\u2028now?"},
    ]
    data = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode("utf-8-sig")
    holiday, kind, single = parse_dataset(data, "jsonl")
    assert holiday == Question(
        "holiday", "How many days?", 1, ("How many days?", "And carried over?"), "Be brief.", 64, None
    )
    assert (kind.id, kind.question, kind.turns, kind.system, kind.line) == ("2", "Hi", ("Hi", "Bye"), "Be kind.", 2)
    assert kind.messages is not None
    assert kind.messages[2] == Message("assistant", "Hello!")
    assert single == Question("7", "Why\u2028now?", 3, ("Why\u2028now?",))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("{", "expected a JSON object, got: Expecting property name enclosed in double quotes at column 2"),
        ("[1]", "expected a JSON object, got a list"),
        ('"text"', "expected a JSON object, got text"),
        ("{}", "expected one of question, turns and messages, got none of them"),
        ('{"question": "a", "turns": ["b"]}', "expected one of question, turns and messages, got question and turns"),
        (
            '{"question": "a", "max_token": 1}',
            "expected keys among id, question, system, max_tokens, expect, turns, messages, got 'max_token'",
        ),
        ('{"question": "a", "question": "b"}', "expected a JSON object, got: key 'question' twice"),
        ('{"question": NaN}', "expected a JSON object, got: NaN"),
        ('{"question": 5}', "question: expected text, got a number"),
        ('{"question": null}', "question: expected text, got null"),
        ('{"question": "\\ud800"}', "question: expected text, got half of a surrogate pair"),
        ('{"question": "a\\u0000"}', "question: expected text, got a NUL character"),
        ('{"turns": []}', "turns: expected a list of texts, got an empty list"),
        ('{"turns": ["a", " "]}', "turn 2: expected text, got a blank"),
        ('{"messages": {}}', "messages: expected a list of messages, got an object"),
        (
            '{"messages": [{"role": "system", "content": "a"}]}',
            "messages: expected at least one of the user, got none",
        ),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "user"}]}',
            "message 2: expected role and content, got role",
        ),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "bot", "content": "b"}]}',
            "message 2: role: expected one of system, developer, user, assistant, got 'bot'",
        ),
        (
            '{"system": "x", "messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]}',
            "system: expected it once, got it as a key and as the first message",
        ),
        ('{"question": "a", "max_tokens": true}', "max_tokens: expected a whole number from 1 to 1000000, got True"),
        ('{"question": "a", "max_tokens": [1]}', "max_tokens: expected a whole number from 1 to 1000000, got a list"),
        ('{"question": "a", "id": {}}', "id: expected text or a whole number, got an object"),
        ("[" * 100_000, "expected a JSON object, got: deep nesting"),
    ],
)
def test_bad_jsonl(row, expected):
    data = f'{{"question": "fine"}}\n{row}\n'
    assert problems_of(data, "jsonl") == [f"d:2: {expected}"]


def test_a_number_too_long_for_python_is_a_problem():
    [problem] = problems_of('{"question": "a", "max_tokens": ' + "9" * 5000 + "}", "jsonl")
    assert problem.startswith("d:1: expected a JSON object, got: ")


def test_blank_lines_between_json_objects():
    assert problems_of('{"question": "a"}\n\n{"question": "b"}', "jsonl") == [
        "d:2: expected a JSON object, got a blank line"
    ]
    assert problems_of("\n\n", "jsonl") == ["d: expected at least one question, got an empty file"]


def test_files_that_cannot_be_read(tmp_path):
    missing, folder = tmp_path / "no.csv", tmp_path / "folder.csv"
    folder.mkdir()
    with pytest.raises(BadInput, match=r"no\.csv: expected a readable file, got: No such file"):
        load_dataset(missing)
    with pytest.raises(BadInput, match=r"folder\.csv: expected a readable file, got: Is a directory"):
        load_dataset(folder)
    with pytest.raises(BadInput, match=r"expected a file named \.csv, \.txt, \.jsonl, \.ndjson, got \.xlsx"):
        load_dataset(tmp_path / "d.xlsx")
    with pytest.raises(BadInput, match="expected a readable file, got: embedded null byte"):
        load_dataset("a\0b.csv")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner, max_size=3)
        | st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "assistant", "bot"]), "content": inner})
    ),
    max_leaves=8,
)
ENTRIES = st.dictionaries(
    st.sampled_from(["id", "question", "system", "max_tokens", "turns", "messages"]), JSON_VALUES, max_size=4
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.text('"\r\n,a 1question', max_size=60).map(str.encode)))
def test_any_bytes_are_questions_or_bad_input(data):
    for form in ("csv", "jsonl"):
        check_outcome(data, form)


@settings(max_examples=300, deadline=None)
@given(st.lists(ENTRIES, max_size=3))
def test_any_json_is_questions_or_bad_input(entries):
    check_outcome("\n".join(map(json.dumps, entries)).encode(), "jsonl")


def check_outcome(data: bytes, form: str) -> None:
    try:
        questions = parse_dataset(data, form)
    except BadInput as error:
        assert error.problems
        return
    assert questions
    assert len({question.id for question in questions}) == len(questions)
    for question in questions:
        assert question.question.strip() and question.id.strip() == question.id
        assert question.turns[0] == question.question
        assert all(turn.strip() for turn in question.turns)
        json.dumps([question.system, *question.turns]).encode()
        " ".join(question.turns).encode()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1))
def test_quoted_questions_come_back_as_they_were(written):
    written = [question for question in written if question.strip()] or ["x"]
    data = "question\n" + "\n".join('"' + question.replace('"', '""') + '"' for question in written)
    assert texts(data) == written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id;question\r\n1;What is RAG?\r\n2;How large, then?\r\n", [("1", "What is RAG?"), ("2", "How large, then?")]),
        ('question;max_tokens\n"What; really?";50\n', [("1", "What; really?")]),
        ("id\tprompt\na\tWhat, now?\n", [("a", "What, now?")]),
        ("id|question\na|What?\n", [("a", "What?")]),
        ("sep=;\r\nid;question\r\n7;What?\r\n", [("7", "What?")]),
        ("sep=,\nquestion,id\nWhat?,7\n", [("7", "What?")]),
        ("prompt\nWhat?\nWho?\n", [("1", "What?"), ("2", "Who?")]),
        ("Questions\nWhat?\n", [("1", "What?")]),
        ("What; when?\nWho?\n", [("1", "What; when?"), ("2", "Who?")]),
        ("Which prompt?\n", [("1", "Which prompt?")]),
    ],
)
def test_files_as_excel_and_people_write_them(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(each.id, each.question) for each in parse_dataset(text.encode("utf-8-sig"), "csv")] == expected


def test_lines_count_from_the_files_first_one() -> None:
    with pytest.raises(BadInput, match=r"dataset:3: expected 2 columns, got 1"):
        parse_dataset(b"sep=;\nid;question\nWhat?\n", "csv")


def test_two_columns_of_questions_are_refused() -> None:
    with pytest.raises(BadInput, match="header: expected each column once, got 'question' 2 times"):
        parse_dataset(b"prompt;question\na;b\n", "csv")


@pytest.mark.parametrize(
    ("text", "columns"),
    [("What?;50\nHow?;20\n", "2 columns separated by ';'"), ("a\tb\tc\nd\te\tf\n", "3 columns separated by '\\t'")],
)
def test_columns_without_a_header_are_refused_with_the_guess(text: str, columns: str) -> None:
    (problem,) = problems_of(text.encode())
    assert problem.startswith(f"d:1: expected a header, got lines that look like {columns}: name them in a first line")
    assert [each.question for each in parse_dataset(f"question\n{text}".encode(), "csv", "d")] == text.splitlines()


def test_a_table_without_a_question_is_one_problem() -> None:
    (problem,) = problems_of(b"title,price\nA,1\nB,2")
    assert problem == (
        "d:1: expected a header, got lines that look like 2 columns separated by ',': name them in a first line "
        "(id,question), or quote each if each line is one question"
    )


def test_columns_under_a_separator_line_need_a_header() -> None:
    (problem, _) = problems_of(b"sep=;\nWhat?;1\nHow?;2\n")
    assert problem == "d:2: expected 1 column, got 2 by ';': name the columns in a first line, question among them"


@pytest.mark.parametrize(
    ("line", "form"),
    [
        ('{"custom_id":"a","url":"/v1/chat/completions","body":{"messages":[]}}', "a line of OpenAI's Batch API"),
        ('{"conversations":[{"from":"human","value":"Hi"}]}', "a conversation in ShareGPT's form"),
        ('{"messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}]}', "a list of content parts"),
    ],
)  # fmt: skip
def test_other_tools_forms_are_named_with_what_reads_them(line: str, form: str) -> None:
    (problem,) = problems_of(line.encode(), "jsonl")
    assert form in problem and "requests = FILE sends such requests as they are" in problem
