"""What a parent tells its workers comes there as it is: whole configurations, and what is known of peers."""

from __future__ import annotations

from llamaswap_lib.config.load import load_text
from llamaswap_lib.fleet.states import UNKNOWN, after_failure, after_refusal
from llamaswap_lib.typed_yaml.secrets import visible
from llamaswap_lib.workers.messages import PICKLE, InForce, Kind

FRONT = """
apiKeys: ["${env.KEY}"]
peers:
  box1:
    proxy: "https://box1:8443/path"
    models: [qwen, coder]
    apiKey: "sk-${env.KEY}"
    filters: {stripParams: "a, b", setParams: {temperature: 0.5, nested: {list: [1, 2]}}}
    timeouts: {connect: 3}
  box2: {proxy: "http://box2:8080", models: auto, pooled: false}
  box3: {proxy: "http://box3:8080", models: [qwen]}
selectors:
  big: {strategy: spread, targets: [box1/qwen, box3/qwen], settings: {spillover: 4}, fallback: [box1/coder]}
profiles:
  day: {description: "by day", pins: {x: box1/qwen, gone: ""}}
allowedHosts: ["*.example.org"]
limits: {connections: 100}
"""


def test_a_configuration_comes_as_it_is_and_what_is_secret_stays_hidden() -> None:
    config = load_text(FRONT, environment={"KEY": "1234567890"})
    message = {"kind": Kind.CHANGE, "in_force": InForce(config, "day")}
    heard = PICKLE.loads(PICKLE.dumps(message))
    assert heard == message
    assert repr(heard) == repr(message)
    [key] = heard["in_force"].config.api_keys
    assert (key, visible(key)) == ("1234567890", "[hidden]")


def test_states_of_peers_come_as_they_are() -> None:
    out = after_refusal(UNKNOWN, 1.0, "connection refused")
    states = {"new": UNKNOWN, "out": out, "failed": after_failure(UNKNOWN, 2.0, "timed out")}
    message = {"kind": Kind.STATES, "states": states}
    assert PICKLE.loads(PICKLE.dumps(message)) == message
