"""`fairlead key`: what it makes is what the router reads."""

import re

import pytest
from click.testing import CliRunner, Result

from fairlead_router.identity.cli import key
from fairlead_router.identity.gate import Gate
from fairlead_router.identity.keys import KeyRing, Principal, hash_of


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(key, arguments, input=stdin)


def key_in(shown: str) -> str:
    [found] = re.findall(r"fl-\S+", shown)
    return str(found)


def test_a_made_key_and_its_entry_belong_together():
    made = run("create", "--name", "team-a")
    ring = KeyRing.from_yaml("keys:\n" + made.stdout)
    assert ring.principal(key_in(made.stderr).encode()) == Principal("team-a", "team-a")
    assert "fl-" not in made.stdout


def test_a_key_has_256_random_bits_behind_its_prefix():
    keys = {key_in(run("create", "--name", "a").stderr) for _ in range(3)}
    assert len(keys) == 3
    assert all(re.fullmatch(r"fl-[A-Za-z0-9_-]{43}", each) for each in keys)


def test_every_field_can_be_given():
    made = run(
        *("create", "--name", "a", "--tenant", "t", "--class", "x", "--class", "y", "--model", "org/M", "--trusted"),
        "--own-limits",
    )
    [principal] = KeyRing.from_yaml("keys:\n" + made.stdout).principals
    assert principal == Principal("a", "t", ("x", "y"), ("org/M",), trusted=True, own_limits=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing option '--name'"),
        (("--name", "Team A"), "'Team A': String should match pattern"),
        (("--name", "a", "--class", "X"), "'X': String should match pattern"),
        (("--name", "a", "--model", "-"), "'-': String should match pattern"),
    ],
)
def test_what_the_file_would_refuse_is_refused_at_once(arguments, message):
    refused = run("create", *arguments)
    assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_hash_of_a_key_lets_it_in(end):
    own = "sk-made-elsewhere-0123456789"
    hashed = run("hash", stdin=own + end).stdout.strip()
    ring = KeyRing.from_yaml(f"keys: [{{name: a, hash: '{hashed}'}}]")
    assert hashed == hash_of(own.encode())
    assert Gate(ring).identify([(b"authorization", f"Bearer {own}".encode())]).name == "a"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "can be guessed"),
        ("password", "can be guessed"),
        (" sk-made-elsewhere-0123456789", "without blanks at its ends"),
        ("sk-made-elsewhere\n0123456789", "on one line"),
        ("sk-gemäß-elsewhere-0123456789", "printable ASCII"),
    ],
)
def test_a_key_that_could_be_guessed_or_not_be_sent_is_refused_and_not_repeated(given, message):
    refused = run("hash", stdin=given)
    assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr
    assert not given or given not in refused.output


def test_a_file_is_checked_and_told(tmp_path):
    path = tmp_path / "keys.yaml"
    first = run("create", "--name", "a").stdout
    second = run("create", "--name", "gw", "--class", "x", "--model", "m", "--trusted").stdout
    path.write_text("keys:\n" + first + second)
    told = run("check", str(path))
    assert told.stdout.splitlines() == [
        "a: tenant a; classes: all; models: all",
        "gw: tenant gw; classes: x; models: m; identity headers are believed",
    ]


def test_a_file_that_the_router_would_refuse_is_refused(tmp_path):
    path = tmp_path / "keys.yaml"
    path.write_text("keys: [{name: a, hash: b}]")
    refused = run("check", str(path))
    assert refused.exit_code == 2
    assert f"{path}: keys.0.hash: must be sha256:" in refused.stderr


@pytest.mark.parametrize("command", [(), ("create",), ("hash",), ("check",)])
def test_help_has_an_example(command):
    assert "fairlead key" in run(*command, "--help").stdout
