"""`gpus`: what may stand there, what does not go together with it, and what a server is told of the choice."""

from __future__ import annotations

import pytest

from llamaswap_lib.config.check import Listen, report
from llamaswap_lib.config.device_keys import Gpus
from llamaswap_lib.config.difference import is_same_process
from llamaswap_lib.config.load import inspect_text, load_text
from llamaswap_lib.config.placed import placed
from llamaswap_lib.config.schema import Model
from llamaswap_lib.config.show import shown
from llamaswap_lib.errors import ConfigError
from llamaswap_lib.typed_yaml.secrets import MASK

MEMORY = "routing: {router: {use: memory}}\n"


def model(keys: str, cmd: str = "python3 --port ${PORT}") -> Model:
    return load_text(f"{MEMORY}models: {{m: {{cmd: '{cmd}', {keys}}}}}", environment={}).models["m"]


def warnings(text: str) -> str:
    found = report(inspect_text(text, "config.yaml", {}), {}, Listen())
    return "\n".join(problem.message for problem in found.warnings)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("auto", Gpus()),
        ("AUTO", Gpus()),
        ("2", Gpus(2)),
        ("[1]", Gpus(1, ("1",))),
        ("[0, GPU-ab12]", Gpus(2, ("0", "GPU-ab12"))),
        ("['0000:03:00.0']", Gpus(1, ("0000:03:00.0",))),
    ],
)
def test_gpus_are_as_few_as_will_do_or_so_many_or_just_these(text: str, value: Gpus) -> None:
    assert model(f"gpus: {text}").gpus == value


@pytest.mark.parametrize(
    "text", ["0", "-1", "65", "1.5", "none", "[]", "[0, 0]", "[GPU-A, gpu-a]", "[a]", "{a: 1}", "[[0]]"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected auto, how many GPUs, or a list"):
        model(f"gpus: {text}")


def test_without_it_nothing_is_chosen() -> None:
    assert model("pinned: true").gpus is None
    assert model("gpus: null").gpus is None


@pytest.mark.parametrize("text", ["[${env.GPU}]", "[0, ' ${env.GPU} ']", "${env.COUNT}"])
def test_what_came_from_the_environment_is_not_shown(text: str) -> None:
    said = f"{MEMORY}models: {{m: {{cmd: 'x --port ${{PORT}}', gpus: {text}}}}}"
    config = load_text(said, environment={"GPU": "GPU-private", "COUNT": "37"})
    told = f"{config.models['m'].gpus} {shown(config, mask=True)}"
    assert MASK in told
    assert "private" not in told
    assert "37" not in told
    plain = text.replace("${env.GPU}", "GPU-private").replace("${env.COUNT}", "37")
    assert config.models["m"].gpus == model(f"gpus: {plain}").gpus


@pytest.mark.parametrize("text", ["auto", "3", "[0, GPU-ab12]"])
def test_it_is_shown_as_it_was_written(text: str) -> None:
    config = load_text(f"{MEMORY}models: {{m: {{cmd: 'x --port ${{PORT}}', gpus: {text}}}}}", environment={})
    said = shown(config, mask=True)["models"]["m"]["gpus"]
    assert model(f"gpus: {said}").gpus == config.models["m"].gpus


@pytest.mark.parametrize("name", ["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES"])
def test_a_model_cannot_name_its_devices_and_have_them_chosen(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} and gpus both say which GPUs it gets"):
        model(f'gpus: auto, env: ["{name}=0"]')
    assert model(f'env: ["{name}=0"]').gpus is None
    assert model(f'gpus: auto, env: ["{name}=${{GPUS}}"]').gpus == Gpus()


@pytest.mark.parametrize(
    "key", ["cmd: 'x ${GPUS}'", "checkEndpoint: '/${GPUS}', gpus: auto", "env: ['A=${GPU_COUNT}']"]
)
def test_the_macros_have_a_value_only_where_gpus_are_chosen(key: str) -> None:
    with pytest.raises(ConfigError, match=r"can be used only in cmd, cmdStop, sleep and env of a model with gpus"):
        load_text(f'{MEMORY}models: {{m: {{proxy: "http://localhost:1", {"" if "cmd" in key else "cmd: x, "}{key}}}}}')


def test_a_macro_of_that_name_of_the_users_own_is_theirs() -> None:
    text = f"{MEMORY}macros: {{GPUS: '7'}}\nmodels: {{m: {{cmd: 'x --port ${{PORT}} ${{GPUS}}'}}}}"
    assert load_text(text, environment={}).models["m"].argv[-1] == "7"


def test_a_server_is_told_of_the_choice_by_variables_and_macros() -> None:
    one = model(
        'gpus: 2, cmdStop: "stop ${PID} ${GPUS}", env: ["N=${GPU_COUNT}", "A=b"]', "x --port ${PORT} -g ${GPUS}"
    )
    given = {"said": "2", "gpus": "GPU-1,GPU-2", "gpu_count": "2", "CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"}
    started = placed(one, given)
    assert started.argv[-1] == "GPU-1,GPU-2"
    assert started.stop_argv == ("stop", "${PID}", "GPU-1,GPU-2")
    assert started.env == ("N=2", "A=b", "CUDA_VISIBLE_DEVICES=GPU-1,GPU-2")
    assert started.shown.cmd.endswith("-g GPU-1,GPU-2")
    assert is_same_process(started, one)


def test_where_nothing_was_chosen_the_macros_mean_no_gpu() -> None:
    started = placed(model("gpus: auto", "x --port ${PORT} -g=${GPUS} -n ${GPU_COUNT}"), {})
    assert started.argv[-3:] == ("-g=", "-n", "0")
    plain = model("pinned: true")
    assert placed(plain, {}) is plain


def test_another_choice_is_another_process() -> None:
    assert not is_same_process(model("gpus: auto"), model("gpus: 2"))
    assert not is_same_process(model("gpus: auto"), model("pinned: true"))
    assert is_same_process(model("gpus: [0]"), model("gpus: [0]"))


def test_a_container_is_told_of_the_choice_only_by_the_macro() -> None:
    docker = "docker run --rm -p ${PORT}:80 %s image"
    text = MEMORY + "models: {m: {cmd: '" + docker + "', gpus: auto, cmdStop: docker stop m}}"
    assert "use ${GPUS} in cmd" in warnings(text % "")
    assert "${GPUS}" not in warnings(text % "--gpus device=${GPUS}")


def test_without_the_policy_by_memory_it_does_nothing() -> None:
    assert "does nothing while routing.router.use is not memory" in warnings(
        "models: {m: {cmd: 'python3 --port ${PORT}', gpus: auto}}"
    )
