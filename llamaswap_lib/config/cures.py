"""What a person may have meant by a value of the wrong kind: the second half of `expected a list, got "fast"; ...`.

Owns the guesses. Each is said only where the value looks like it, and repeats nothing that may be a secret. Pure.
"""

from __future__ import annotations

import re

from . import scalars
from .kinds import Choice, CommaList, Flag, Integer, ListOf, MapOf, Seconds, Section, Text, keys_of
from .misnamed import without_blanks
from .nodes import Mapping, Node, Scalar, Sequence
from .problems import Path, nearest, quoted
from .reader import Kind
from .routing import Group
from .schema import Model
from .sections import Peer, Profile

LONG_NAME = 40  # characters
WORD = r"([A-Za-z_][\w.-]*)(:?)"


def cure(kind: Kind, node: Node, path: Path) -> str:
    """What to say behind the error, or nothing."""
    if isinstance(kind, (MapOf, Section)):
        said = _for_a_mapping(kind, node, path)
    elif isinstance(kind, ListOf):
        said = _for_a_list(kind, node)
    elif isinstance(kind, (Text, CommaList)):
        said = _for_text(kind, node, path)
    else:
        said = _for_a_scalar(kind, node)
    return f"; {said}" if said else ""


def _for_a_mapping(kind: MapOf | Section, node: Node, path: Path) -> str:
    cls = kind.cls if isinstance(kind, Section) else None
    if isinstance(node, Sequence):
        return _for_a_list_instead(kind, node, str(path[-1]))
    if not isinstance(node, Scalar) or cls is None:
        return ""
    names = [known.name for known in keys_of(cls)]
    key = str(path[-1])
    word = re.match(WORD, node.visible)
    if word is not None and word[1] in names and word[1] != node.visible:
        if word[2] and node.visible[word.end()].isspace():
            return "leave out the sign | before it" if path[:1] == ("models",) else ""
        what = "a space" if word[2] else "a colon"
        return f"{what} is missing after {quoted(word[1] + word[2])}"
    if cls is Group:
        return 'write its models after "members:", such as "members: [a, b]"'
    if cls is Peer and re.match(r"https?://", node.visible):
        return f"write it after {quoted('proxy:')}, and a list of the peer's models after {quoted('models:')}"
    if cls is not Model:
        return ""
    if without_blanks(key) in names:
        odd = ", with spaces before it that YAML does not count as such" if key not in names else ""
        return f"{quoted(without_blanks(key))} is a key of a model{odd}: indent it below the model's name"
    return f"write it as the value of a key, such as {quoted('cmd: llama-server --port ${PORT}')}"


def _for_a_list_instead(kind: MapOf | Section, node: Sequence, key: str) -> str:
    """Where a list stands in the place of a mapping."""
    cls = kind.cls if isinstance(kind, Section) else None
    if cls is Profile:
        form = f"groups: {{{key}: {{swap: false, members: [...]}}}}"
        return f"this list is the old form of profiles; groups have taken its place: {quoted(form, 120)}"
    if cls is Model:
        return f"write it as the value of a key, such as {quoted('cmd: llama-server --port ${PORT}')}"
    lists = [] if cls is None else [known.name for known in keys_of(cls) if isinstance(known.kind, ListOf)]
    if len(lists) == 1:
        return f'write the list after "{lists[0]}:"'
    if isinstance(kind, MapOf) and any(isinstance(item, Mapping) for item in node.items):
        return 'write each name with a colon and its keys below it, without "- "'
    if key == "sets":
        return 'write each set as "name: a & b"'
    if isinstance(kind, MapOf) and isinstance(kind.item, Section) and kind.item.cls is Group:
        return 'write a name for the group, and below it the list after "members:"'
    return ""


def _for_a_list(kind: ListOf, node: Node) -> str:
    if isinstance(node, Mapping):
        if isinstance(kind.item, Text) and kind.item.form == "variable":
            return 'write "- NAME=value", with "=" for ": "'
        return 'write the names alone, each after "- "' if node.entries else ""
    if not isinstance(node, Scalar):
        return ""
    if re.match(r"-\S", node.visible):
        return 'a space is missing after "-"'
    if isinstance(kind.item, Text) and kind.item.form == "variable":
        return 'write "- " before it'
    is_name = not (isinstance(kind.item, Text) and kind.item.form == "secret") and len(node.visible) < LONG_NAME
    return f"write [{node.visible}]" if is_name and re.match(r"[\w./:-]+$", node.visible) else "write it in [ ]"


def _for_text(kind: Text | CommaList, node: Node, path: Path) -> str:
    if isinstance(node, Sequence):
        words = [item.visible for item in node.items if isinstance(item, Scalar)]
        is_short = len(words) == len(node.items) and re.match(r"[\w. ,-]+$", " ".join(words)) is not None
        if isinstance(kind, CommaList):
            return f"write {quoted(', '.join(words))}" if is_short else ""
        if kind.form == "command":
            return "write the words on one line, as in a shell"
        if path[-2:-1] == ("sets",):
            return "write the names with & (and) and | (or) between them"
    if isinstance(node, Mapping):
        if isinstance(kind, Text) and kind.form == "variable":
            return 'write NAME=value, with "=" for ": "'
        if len(node.entries) == 1 and node.place.end_column:
            return "text with braces or a colon needs quotes"
    return ""


def _for_a_scalar(kind: Kind, node: Node) -> str:
    if not isinstance(node, Scalar):
        return ""
    text = node.visible
    if node.plain and isinstance(kind, Integer) and _is_too_large(text):
        return "this number is too large"
    if not node.plain and isinstance(kind, (Integer, Flag)):
        is_right = scalars.flag_of(text, True) is not None if isinstance(kind, Flag) else scalars.number_of(text)
        if is_right in (None, False):
            return ""
        lines, place = node.place.source.lines, node.place
        begins = lines[place.line][place.source.written_column(place.line, place.column) :] if lines else ""
        return "leave out the quotes" if begins.startswith(('"', "'")) else "leave out the quotes in the macro"
    if isinstance(kind, Choice):
        near = nearest(text, kind.words)
        return f"did you mean {quoted(near)}?" if near else ""
    if isinstance(kind, Seconds):
        return _for_seconds(kind, text)
    return ""


def _is_too_large(text: str) -> bool:
    number = scalars.number_of(text)
    return isinstance(number, int) and number > 0 and scalars.integer_of(number) is None


def _for_seconds(kind: Seconds, text: str) -> str:
    if scalars.duration_of(text) is not None:
        return ""
    match = re.match(r"(\d+)\s*(s|m|h|d|sec|min|hour|day|second|minute)s?$", text.strip(), re.IGNORECASE)
    if match is not None:
        unit = match[2][0].lower()
        return f"write {int(match[1]) * 24}h" if unit == "d" else f"write {match[1]}{unit}"
    if text.lower() in ("never", "none", "off", "no", "false", "infinite", "unlimited", "forever"):
        return "0 is never" if kind.minimum in (0, -1) and not kind.unit else ""
    return f"write {text}s" if kind.unit and text.isdigit() and int(text[:9]) >= (kind.minimum or 0) else ""
