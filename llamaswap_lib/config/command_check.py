"""What is odd about how a model's server is started, reached and asked whether it is ready.

Owns the warnings about `cmd`, `cmdStop`, `env`, and `checkEndpoint` and `proxy` beside them. Looks at PATH and at files
unless only the text may be looked at; starts nothing.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import urllib.parse
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache

from llamaswap_lib.command_words import is_variable, mask_command, shown_words, split
from llamaswap_lib.typed_yaml.nodes import MappingNode
from llamaswap_lib.typed_yaml.problems import KeyPath, Place, quoted
from llamaswap_lib.typed_yaml.secrets import Hidden, mask_text

from .addresses import address_of
from .document import Document
from .schema import Model
from .shell_habits import Command, habit_in_value, habits_in
from .sleep_keys import COMMAND_KEYS
from .wrappers import name_of, started

MODEL_SUFFIXES = (".gguf", ".safetensors", ".onnx", ".ggml", ".pth", ".mmproj")
# Options whose word names a file elsewhere, or is a mere name.
NO_FILE_OPTIONS = frozenset(
    (
        *("-hf", "-hfr", "--hf-repo", "-hff", "--hf-file", "-hfv", "--hf-repo-v", "-hffv", "--hf-file-v", "-hfd"),
        *("--hf-repo-draft", "-a", "--alias", "--served-model-name", "--model-name"),
    )
)
FOR_A_SHELL = re.compile(r"^~|[$`*?;&|<>\n]")  # in what would be the name of a file
MAX_FILE_CHARS = 300
ORIGIN = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")
PROGRAM, FILE = "missing program", "missing file"
# Servers that load for long, and where they tell of it.
SLOW_SERVERS = {
    "llama-server": "/health",
    "vllm": "/health",
    "sglang": "/health",
    "llama.cpp": "/health",
    "text-generation-launcher": "/health",
    "aphrodite": "/health",
    "koboldcpp": "/api/v1/model",
    "whisper-server": "/",
}
NUMBERS = re.compile(r"\d+")
PART = re.compile(r"[/:@\s]+")  # between the parts of an image's name


class CommandCheck:
    """Looks at the models of one configuration; a program is looked for once."""

    def __init__(self, environment: Mapping[str, str], written: MappingNode | None, document: Document) -> None:
        self._document = document
        self._written = written
        self._is_text_only = document.problems.is_text_only
        search = environment.get("PATH", os.defpath)  # ours, whatever the model's `env` says: so the start looks, too
        self._is_there: Callable[[str], bool] = cache(lambda program: shutil.which(program, path=search) is not None)

    def check(self, model: Model) -> None:
        """Everything there is to say of one."""
        path: KeyPath = ("models", model.id)
        macros = self._macros(model.id)
        self._check_env(model, path, macros)
        if not model.argv:
            message = "there is no command, so the model cannot be started"
            self._document.warn((*path, "cmd"), message, at_key=True, family="no command")
        command = _command(model.cmd, model.argv, macros)
        self._check_command((*path, "cmd"), command)
        if model.stop_argv:
            self._check_command((*path, "cmdStop"), _command(model.cmd_stop, model.stop_argv, {*macros, "PID"}))
        for name, text in zip(COMMAND_KEYS, model.sleep.commands, strict=True) if model.sleep else ():
            if text:
                self._check_command((*path, "sleep", name), _command(text, split(text), {*macros, "PID"}))
        if model.status_argv:
            self._check_command((*path, "cmdStatus"), _command(model.cmd_status, model.status_argv, macros))
        self._check_endpoint(model, (*path, "checkEndpoint"))
        self._check_port(model, command, (*path, "proxy"))
        self._check_gpus(model, command, (*path, "gpus"))

    def _macros(self, model: str) -> Collection[str]:
        """Names of macros that this model may use."""
        written = self._written
        models = None if written is None else written.mapping("models")
        own = None if models is None else models.mapping(model)
        holders = [holder.mapping("macros") for holder in (written, own) if holder is not None]
        names = [name for holder in holders if holder is not None for name in holder.entries]
        return {"PORT", "MODEL_ID", "GPUS", "GPU_COUNT", *names}

    def _check_env(self, model: Model, path: KeyPath, macros: Collection[str]) -> None:
        for index, entry in enumerate(model.env):
            at: KeyPath = (*path, "env", index)
            if not is_variable(entry):
                self._document.warn(at, f"expected NAME=value, got {quoted(entry)}; it adds nothing")
            elif (habit := habit_in_value(entry, macros)) is not None:
                self._document.warn(at, habit.message, family=f"{habit.kind} in env")

    # -- commands --

    def _check_command(self, path: KeyPath, command: Command) -> None:
        habits = habits_in(command)
        for habit in habits:
            place = self._place(path, command.written(habit.word))
            family = f"{habit.kind} in a command"
            self._document.problems.warn(place, path, habit.message, is_hint=habit.is_hint, family=family)
        if self._is_text_only or any(habit.spoils for habit in habits):
            return
        for number in command.starts.programs:
            program, shown = command.argv[number], command.shown[number]
            if not self._is_there(program):
                message = _missing_program(program, shown)
                self._document.problems.warn(self._place(path, shown), path, message, family=PROGRAM)
        if path[-1] == "cmd" and command.starts.is_here:
            self._check_files(path, command)

    def _check_files(self, path: KeyPath, command: Command) -> None:
        for number, file in model_files(command.argv):
            if number != command.starts.script and not FOR_A_SHELL.search(file) and not _is_there(file):
                shown = command.shown[number]
                name = shown if file == command.argv[number] else shown.partition("=")[2]
                message = f"there is no file {quoted(name, MAX_FILE_CHARS)}"
                self._document.problems.warn(self._place(path, name), path, message, family=FILE)

    def _place(self, path: KeyPath, written: str) -> Place | None:
        """Where the command has this word, or else where the command stands."""
        place = self._document.place(path)
        words = written.split(maxsplit=1)
        return (place.spot(words[0], has_comments=True) or place) if place is not None and words else place

    # -- what stands beside them --

    def _check_endpoint(self, model: Model, path: KeyPath) -> None:
        endpoint = model.check_endpoint
        if not isinstance(endpoint, Hidden) and (ORIGIN.match(endpoint) or "#" in endpoint):
            asked, is_url = ORIGIN.sub("", endpoint.partition("#")[0]), ORIGIN.match(endpoint) is not None
            is_unknown = isinstance(model.proxy, Hidden) or model.is_announced
            base = "" if is_unknown else urllib.parse.urlsplit(model.proxy).path.rstrip("/")
            if is_url and asked.startswith(f"{base}/"):  # as the health check does it
                asked = asked.removeprefix(base)
            asked = quoted("/" + asked.lstrip("/"))
            what = "is a whole URL where" if is_url else "has a # where only"
            message = f"{what} a path is expected; {asked} is asked for at the address of proxy; write {asked} here"
            self._document.warn(path, message, family="whole URL")
        if endpoint == "none" and model.is_announced:
            message = "with none, it counts as ready as soon as it says where it listens, and requests may fail then"
            message += "; write a path that answers 200 when it is ready, or leave checkEndpoint out"
            self._document.warn(path, message, family="ready at once")
            return
        slow = _slow_server(model.argv) if endpoint == "none" else None
        if slow is not None:
            message = (
                f"with none, {slow} counts as ready at once, but it loads for a while, and requests fail until then"
            )
            message += f"; write checkEndpoint: {SLOW_SERVERS[slow]}"
            self._document.warn(path, message, family="ready at once")

    def _check_port(self, model: Model, command: Command, path: KeyPath) -> None:
        """A port that the command names and `proxy` does not; not where the command runs in a container."""
        told = None if isinstance(model.proxy, Hidden) else _told_port(command.shown)
        if told is None or not command.starts.is_here:
            return
        host, port = address_of(model.proxy)
        if host != "localhost" or any(str(port) in NUMBERS.findall(word) for word in command.argv):
            return
        cure = f"write proxy: {_with_port(model.proxy, told)}"
        if model.automatic_port is not None and told == str(model.automatic_port.number):
            told, cure = "${PORT}", "leave proxy out"
        self._document.warn(path, f"leads to port {port}, but cmd says --port {told}; {cure}", family="other port")

    def _check_gpus(self, model: Model, command: Command, path: KeyPath) -> None:
        """A container, or another machine, does not get the variables that say which GPUs were chosen."""
        is_told = any("${GPUS}" in text for text in (*model.argv, *model.env))
        if model.gpus is not None and not command.starts.is_here and not is_told:
            message = "what runs in a container or elsewhere does not learn which GPUs were chosen; use ${GPUS} in cmd"
            message += """, as in docker run --gpus '"device=${GPUS}"'"""
            self._document.warn(path, message, family="GPUs of a container")


def _command(text: str, argv: Sequence[str], macros: Collection[str]) -> Command:
    masked = mask_command(text)
    shown = argv if masked == text and not isinstance(text, Hidden) else shown_words(argv, masked)
    return Command(text, argv, shown, started(argv), macros)


def _missing_program(program: str, shown: str) -> str:
    shown = quoted(shown, MAX_FILE_CHARS)
    if "/" not in program:
        return f"the program {shown} is not on PATH"
    what = "cannot be executed" if _is_there(program) else "is not there"
    return f"the program {shown} {what}"


def _is_there(file: str) -> bool:
    """A name that is too long is that of no file."""
    return os.path.exists(file)  # noqa: PTH110 - Path.exists fails where a name is too long


def model_files(words: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Files of models that a command names, each with the number of its word."""
    for index, word in enumerate(words[1:], 1):
        file = word.partition("=")[2] if word.startswith("-") else word
        is_name = words[index - 1] in NO_FILE_OPTIONS or word.partition("=")[0] in NO_FILE_OPTIONS
        if file.lower().endswith(MODEL_SUFFIXES) and not is_name and "://" not in file and "," not in file:
            yield index, file


def _slow_server(argv: Sequence[str]) -> str | None:
    """A server among these words that is known to load for long: a program, a Python module, an image."""
    for word in argv:
        for part in [name_of(word)] if word[:1] in ("/", ".", "~") else PART.split(word):
            name = next(
                (name for name in SLOW_SERVERS if part == name or part.startswith((f"{name}.", f"{name}-"))), None
            )
            if name is not None:
                return name
    return None


def _with_port(proxy: str, port: str) -> str:
    """The same address with another port."""
    url = urllib.parse.urlsplit(proxy)
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return mask_text(urllib.parse.urlunsplit(url._replace(netloc=f"{host}:{port}")))


def _told_port(argv: Sequence[str]) -> str | None:
    """The number behind `--port`."""
    for word, following in itertools.zip_longest(argv, argv[1:], fillvalue=""):
        option, _, value = word.partition("=")
        if option == "--port" and re.fullmatch(r"\d{1,5}", value or following, re.ASCII):
            return value or following
    return None
