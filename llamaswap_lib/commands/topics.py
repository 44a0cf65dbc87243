"""What `llamaswap help TOPIC` and docs/command-line.md say beside the commands. Texts alone."""

from __future__ import annotations

from typing import NamedTuple


class HelpTopic(NamedTuple):
    """`rows` are what is explained, and how; `text` stands in front of them, as Markdown."""

    name: str
    summary: str
    text: str
    rows: tuple[tuple[str, str], ...] = ()


TOPICS = (
    HelpTopic(
        "server",
        "which server a command asks, and with which key",
        "A command that asks a running server takes it from `--url`, or else from `LLAMASWAP_URL`, or else asks "
        "`http://localhost:8080`. `gpubox:8080` is the same as `http://gpubox:8080`; a path is kept, and a `/v1` "
        "at the end is taken away. If the server has `apiKeys`, give one of them in `LLAMASWAP_API_KEY` or with "
        "`--api-key`: other users of this machine can see the latter in the list of processes. For a certificate "
        "that this machine does not know there is `--ca-file cert.pem`.\n\n"
        "An older version of llamaswap, or llama-swap, does not have all routes. A command shows what it can find "
        "out there, and says which route is missing if it needs one.",
    ),
    HelpTopic(
        "output",
        "tables, colours, JSON, pipes",
        "On a terminal there are colours, and a long name is cut (`…`), or a column is left out, where the line "
        "would be too long. Into a pipe or a file goes every character, without colours. `NO_COLOR=1` and "
        "`TERM=dumb` turn the colours off. `--json` prints the result for programs: one value, or where a command "
        "follows what happens one value on each line. Errors are on stderr. What cannot be seen in a text of "
        "others, such as an escape sequence in the name of a model, is shown as `\\x1b`.",
    ),
    HelpTopic(
        "environment",
        "variables that are read",
        "A flag counts more than its variable.",
        (
            ("LLAMASWAP_URL", "where the server is, for commands that ask it"),
            ("LLAMASWAP_API_KEY", "one of its `apiKeys`"),
            ("LLAMASWAP_CA_FILE", "certificates (PEM) to trust"),
            ("NO_COLOR", "no colours, whatever its value is, unless it is empty"),
            ("TERM", "`dumb`: no colours, and no line is written over"),
            ("NAME", "where the configuration has `${env.NAME}`"),
            ("PATH", "where the server looks for the programs of its models"),
            ("TMPDIR", "where the server keeps large bodies while they are sent"),
            ("http_proxy, https_proxy, no_proxy", "the proxy for peers and for models on other machines"),
            ("SSL_CERT_FILE", "certificates that the server trusts, of peers and models"),
        ),
    ),
    HelpTopic(
        "exit-codes",
        "what the exit code of a command says",
        "The reason is on stderr.",
        (
            ("0", "done"),
            ("1", "the arguments are wrong, or something on this side: a configuration with errors, a file"),
            ("3", "no server can be reached at that address, or the connection to it broke off"),
            ("4", "the server does not know the model, the request or the profile"),
            ("5", "the server wants a key, or another one"),
            ("6", "the server refused, or failed: a load that fails, too many requests, a route that it does not have"),
            ("130", "Ctrl-C"),
        ),
    ),
)


def find_topic(name: str) -> HelpTopic | None:
    return next((topic for topic in TOPICS if topic.name == name), None)
