"""Commands: a mistake is explained on standard error, with exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Literal

import pytest

from trainables.usage import UsageError, choose, run_command


def train(
    study: str,
    lr: float = 0.1,
    seeds: int = 1,
    format: Literal["text", "latex"] = "text",
    quiet: bool = False,
) -> int | None:
    """Train what a study says.

    Args:
        study: Its name.
        lr: Learning rate.
        seeds: How many. Each of them starts from its own network, and this line of the
            docstring
            (which goes on here) --ends in the help where the terminal does.
        format: Of the table.
        quiet: Say nothing.
    """
    if study == "nowhere":
        raise UsageError("unknown study 'nowhere': take another")
    if study == "bug":
        raise ZeroDivisionError("a bug is no mistake of the caller")
    if not quiet:
        print(study, lr, seeds, format)
    return 1 if study == "broken" else None


def watch(study: str) -> None:
    """Watch a study.

    Args:
        study: Its name.
    """
    print("watching", study)


def call(capsys, command, *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        run_command(command, "python -m study", "Studies.", args)
    said = capsys.readouterr()
    return stop.value.code or 0, said.out, said.err


@pytest.mark.parametrize(
    ("args", "code", "out"),
    [
        (["--study", "a"], 0, "a 0.1 1 text\n"),
        (["--study", "a", "--lr", "3", "--seeds", "2", "--format", "latex"], 0, None),
        (["--study", "a", "--quiet"], 0, ""),
        (["--study", "broken"], 1, "broken 0.1 1 text\n"),
    ],
)
def test_a_command_exits_with_what_it_returns(capsys, args, code, out):
    got = call(capsys, train, *args)
    assert got == (code, "a 3.0 2 latex\n" if out is None else out, "")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--study", "a", "--sedes", "3"], ["--sedes", "Perhaps you meant", "--seeds"]),
        (["--study", "a", "--seeds", "x"], ["--seeds", "'x'"]),
        (["--study", "a", "--seeds", "1.5"], ["--seeds", "'1.5'"]),
        (["--study", "a", "--lr", "fast"], ["--lr", "'fast'"]),
        (["--study", "a", "--format", "pdf"], ["format", "pdf", "text", "latex"]),
        (["--study", "a", "--seeds"], ["--seeds"]),
        ([], ["--study"]),
        (["--study", "a", "b"], ["b"]),
    ],
)
def test_a_wrong_option_is_explained(capsys, args, words):
    code, out, err = call(capsys, train, *args)
    assert (code, out) == (2, "")
    for word in [*words, "python -m study --help"]:
        assert word in err


def test_a_usage_error_is_one_line(capsys):
    code, out, err = call(capsys, train, "--study", "nowhere")
    assert (code, out, err) == (2, "", "error: unknown study 'nowhere': take another\n")


BOTH = {"train": train, "watch": watch}


def test_subcommands_run(capsys):
    assert call(capsys, BOTH, "watch", "--study", "a") == (0, "watching a\n", "")
    code, out, _ = call(capsys, BOTH, "train", "--study", "broken")
    assert (code, out) == (1, "broken 0.1 1 text\n")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["wacth", "--study", "a"], ["wacth"]),
        ([], ["train", "watch"]),
        (["watch"], ["--study"]),
        (["train", "--study", "a", "--seeds", "x"], ["'x'"]),
        (["train", "--study", "nowhere"], ["error: unknown study 'nowhere'"]),
    ],
)
def test_a_mistake_in_a_subcommand_is_explained(capsys, args, words):
    code, out, err = call(capsys, BOTH, *args)
    assert (code, out) == (2, "")
    assert all(word in err for word in words)


def test_help_is_the_docstring_and_0(capsys):
    code, out, err = call(capsys, train, "--help")
    assert (code, err) == (0, "")
    for words in ("Train what a study says.", "Learning rate.", "--seeds INT"):
        assert words in out
    described = out.partition("--seeds INT")[2].partition("--format")[0]
    shown = [line.strip("│ ") for line in described.splitlines()]
    assert min(map(len, shown[:-2])) > 40
    code, out, err = call(capsys, BOTH, "--help")
    assert (code, err) == (0, "")
    assert "Watch a study." in out
    assert "Studies." in out


def test_a_bug_is_a_traceback(capsys):
    with pytest.raises(ZeroDivisionError):
        run_command(train, "python -m study", args=["--study", "bug"])


@pytest.mark.parametrize(
    ("args", "code", "words", "encoding"),
    [(["--n", "3"], 3, "", "utf-8"), (["--m", "x"], 2, "--m", "ascii")],
)
def test_a_process_exits_with_the_code(args, code, words, encoding):
    program = (
        "from trainables.usage import run_command\n"
        "def f(n: int) -> int: return n\n"
        "run_command(f, 'f')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *args],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert bool(done.stderr) == (code == 2)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnst", "unknown dataset 'mnst': did you mean 'mnist'? Known: kmnist, mnist"),
        ("zzz", "unknown dataset 'zzz'. Known: kmnist, mnist"),
    ],
)
def test_a_choice_is_among_the_known(name, words):
    assert choose("dataset", "mnist", ["mnist", "kmnist"]) == "mnist"
    with pytest.raises(UsageError) as refusal:
        choose("dataset", name, ["mnist", "kmnist"])
    assert str(refusal.value) == words


@pytest.mark.parametrize("words", ["'x' * 10**6", "'short'"])
def test_a_reader_of_the_output_may_end_early(words):
    """As `| head` does. The pipe is closed while the command prints, or at its end."""
    program = (
        "import sys\n"
        "from trainables.usage import run_command\n"
        f"def f(): sys.stdin.read(); print({words})\n"
        "run_command(f, 'f', args=[])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE),
    )
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


def test_another_broken_pipe_is_an_error(capsys):
    def lose() -> None:
        raise BrokenPipeError("a connection")

    with pytest.raises(BrokenPipeError, match="a connection"):
        run_command(lose, "lose", args=[])
