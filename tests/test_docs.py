"""What the documents say is what is there: options, make targets, examples, tests that are named."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cascade.connectors.mqtt import BatchOptions
from cascade.connectors.mqtt.options import FALLBACK_ONLY, Options
from documents import names_of_tests, quoted, table

TOP = Path(__file__).resolve().parents[1]
README = (TOP / "README.md").read_text("utf-8")
FOR_READERS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *sorted(f"docs/{p.name}" for p in TOP.glob("docs/*.md"))]
# Inside, durations carry their unit.
FIELDS = {field.name.removesuffix("_s"): field for field in dataclasses.fields(Options)}
NEEDS = {"password": {"username": "u"}, "clean_session": {"identifier": "i"}}


OPTIONS = [
    SimpleNamespace(name=quoted(name)[0], default=default, range=within, meaning=meaning, variable=variable.strip("`"))
    for name, default, within, meaning, variable in table(README, "| option | default |")
]


def by_name(option: Any) -> str:
    return str(option.name)


def build(environ: dict[str, str] | None = None, /, **given: Any) -> Options:
    place = given.pop("hostname", "h"), given.pop("port", 1883)
    return Options.build(*place, environ=environ or {}, **given)


def test_the_table_names_every_option():
    assert [option.name for option in OPTIONS] == list(dict.fromkeys(option.name for option in OPTIONS))
    assert {option.name for option in OPTIONS} == set(FIELDS)


@pytest.mark.parametrize("option", OPTIONS, ids=by_name)
def test_its_default_is_the_real_one(option):
    field = FIELDS[option.name]
    if field.default is dataclasses.MISSING:
        assert option.default == "required"
    else:
        default = ast.literal_eval(quoted(option.default)[0])
        assert (default, type(default)) == (field.default, type(field.default))


@pytest.mark.parametrize("option", OPTIONS, ids=by_name)
def test_its_range_is_the_real_one(option):
    bounds = re.fullmatch(r"([\d_]+) to ([\d_]+)", option.range)
    if bounds:
        low, high = map(int, bounds.groups())
        for value in (low, high):
            build(**{option.name: value})
        for value in (low - 1, high + 1):
            with pytest.raises(ValueError, match=option.name):
                build(**{option.name: value})
    elif option.range == "> 0":
        build(**{option.name: 1})
        with pytest.raises(ValueError, match=option.name):
            build(**{option.name: 0})
    elif option.range.startswith('`"'):
        for choice in quoted(option.range):
            build(**{option.name: ast.literal_eval(choice)})
        with pytest.raises(ValueError, match=option.name):
            build(**{option.name: "no such choice"})
    else:
        assert not re.search(r"int|float", str(FIELDS[option.name].type)), "a number has a range"


@pytest.mark.parametrize("option", OPTIONS, ids=by_name)
def test_its_variable_sets_it(option):
    """Where the table names none, there is none."""
    needs = NEEDS.get(option.name, {})
    variable = f"CASCADE_MQTT_{option.variable or option.name.upper()}"
    with_it = build({variable: _other_than_default(option)}, **needs)
    inside = FIELDS[option.name].name
    assert (getattr(with_it, inside) != getattr(build(**needs), inside)) == bool(option.variable)


def _other_than_default(option: Any) -> str:
    kind = str(FIELDS[option.name].type)
    if kind.startswith("bool"):
        return "no" if FIELDS[option.name].default is True else "yes"
    if kind.startswith("BatchOptions"):
        return "on"
    if "IP address" in option.meaning:
        return "127.0.0.7"
    choices = [ast.literal_eval(choice) for choice in quoted(option.range) if choice.startswith('"')]
    return next((choice for choice in choices if choice != FIELDS[option.name].default), "7")


def test_the_table_of_a_batch_is_the_real_one():
    fields = {field.name: field.default for field in dataclasses.fields(BatchOptions)}
    rows = table(README, "| of `BatchOptions` |")
    assert [quoted(name)[0] for name, *_ in rows] == list(fields)
    for (name, default, within, _), real in zip(rows, fields.values(), strict=True):
        assert ast.literal_eval(quoted(default)[0]) == real
        for bound in re.findall(r"[\d_]+", within):
            BatchOptions(**{quoted(name)[0]: int(bound)})


def test_the_fallbacks_own_options_are_marked():
    assert {option.name for option in OPTIONS if "*fallback*" in option.meaning} == set(FALLBACK_ONLY)


@pytest.mark.parametrize("name", FOR_READERS)
def test_make_targets_exist(name):
    text = (TOP / name).read_text("utf-8")
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    wanted = set(re.findall(r"`make ([a-z][a-z-]*)", text)) | set(re.findall(r"\bmake ([a-z][a-z-]*)", blocks))
    targets = set(re.findall(r"^([a-z][a-z-]*):", (TOP / "Makefile").read_text(), re.MULTILINE))
    assert wanted <= targets


def test_the_contributors_table_has_every_target():
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (TOP / "Makefile").read_text(), re.MULTILINE)
    assert set(phony.split()) <= set(re.findall(r"`make ([a-z-]+)`", (TOP / "CONTRIBUTING.md").read_text("utf-8")))


def test_what_the_fallback_cannot_keep_names_what_shows_it():
    """Each row ends with a test that exists, or an option."""
    rows = table((TOP / "docs/reliability.md").read_text("utf-8"), "| promise | native | python |")
    for promise, *_, shown in rows:
        (witness,) = quoted(shown)
        file, _, test = witness.partition("::")
        assert witness in FIELDS or test in names_of_tests(TOP / file), promise


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("reliability", "| failure | what is promised"),
        ("reliability", "| the program | what is promised"),
        ("control", "| was | is |"),
    ],
)
def test_each_promise_names_a_test(name, head):
    for failure, *_, shown in table((TOP / f"docs/{name}.md").read_text("utf-8"), head):
        (witness,) = quoted(shown)
        file, _, test = witness.partition("::")
        assert test in names_of_tests(TOP / file), failure


def test_examples_are_the_files():
    """Each is shown whole in the README, or named in docs/control.md."""
    shown = re.findall(r"\(examples/(\w+\.py)\):\n\n```python\n(.*?)```", README, re.DOTALL)
    named = re.findall(r"\(\.\./examples/(\w+\.py)\)", (TOP / "docs/control.md").read_text("utf-8"))
    assert {name for name, _ in shown} | set(named) == {path.name for path in (TOP / "examples").glob("*.py")}
    for name, code in shown:
        source = (TOP / "examples" / name).read_text("utf-8")
        docstring = ast.parse(source).body[0]
        assert "\n".join(source.splitlines()[docstring.end_lineno :]).strip() == code.strip(), name


@pytest.mark.parametrize("name", FOR_READERS)
def test_python_blocks_compile(name):
    for code in re.findall(r"```python\n(.*?)```", (TOP / name).read_text("utf-8"), re.DOTALL):
        compile(code, name, "exec")


@pytest.mark.parametrize("name", FOR_READERS)
def test_links_lead_somewhere(name):
    links = re.findall(r"\]\(([^)#]+)", (TOP / name).read_text("utf-8"))
    missing = [link for link in links if "://" not in link and not ((TOP / name).parent / link).exists()]
    assert missing == []


def test_the_repository_names_no_machine():
    """No absolute path of somebody's home or checkout in what is tracked."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    a_home = re.compile(rb"(?<![\w.$}~-])/(?:home|Users|root|work)/\w")
    found = [name for name in listed.stdout.split("\0") if name and _holds(TOP / name, a_home)]
    assert found == []


def _holds(file: Path, pattern: re.Pattern[bytes]) -> bool:
    return file.is_file() and bool(pattern.search(file.read_bytes()))
