"""Where llama-server has its weights, what it keeps of tokens, and what `--fit` makes of it: by its options."""

from __future__ import annotations

import pytest

from llamaswap_lib.estimates import llama
from llamaswap_lib.estimates.flags import flags_of
from llamaswap_lib.estimates.llama import Files, Room, Split
from llamaswap_lib.estimates.vllm import GB
from tests.estimates.models import DENSE, EXPERTS, KEPT, LAYERS, MB, OUTPUT, Q4_K, TABLE, all_tensors, model

DENSE_MODEL = model(tensors=all_tensors())
WITHOUT_TOKENS = model(tensors=all_tensors(), tokens=0)  # so there is no work for outputs
EXPERT_MODEL = model(tensors=all_tensors(experts=True), expert_feed_forward_length=768, expert_used_count=8)
CARD = Room(1, 100 * GB, "x86_64")
NO_CARD = Room(0, 0, "x86_64")
CONTEXT = 4096
CACHE = KEPT * CONTEXT


def need(options: str, room: Room = CARD, files: Files | None = None) -> Split:
    return llama.need(files or Files(DENSE_MODEL), flags_of(f"-c {CONTEXT} {options}".split(), {}), room)


def of_experts(options: str) -> Split:
    return need(options, files=Files(EXPERT_MODEL))


def assert_about(found: Split, gpu: int, ram: int, most: int = GB) -> None:
    """So much, and less than `most` more on each side."""
    assert gpu <= found.gpu < gpu + most, f"{found.gpu / MB} MB, {gpu / MB} expected"
    assert ram <= found.ram < ram + most, f"{found.ram / MB} MB, {ram / MB} expected"


ALL_LAYERS = LAYERS * DENSE


@pytest.mark.parametrize("options", ["", "-ngl 99", "-ngl all", f"-ngl {LAYERS + 1}"])
def test_with_all_layers_on_the_gpu_the_table_of_tokens_is_not(options: str) -> None:
    assert_about(need(options), ALL_LAYERS + OUTPUT + CACHE, TABLE)


def test_without_a_gpu_all_of_it_is_in_the_machine() -> None:
    found = need("-ngl 99", NO_CARD)
    assert found.gpu == 0
    assert_about(found, 0, ALL_LAYERS + OUTPUT + TABLE + CACHE, GB // 2)
    assert need("-dev none") == found


def test_the_last_layers_are_on_the_gpu_and_the_output_first_of_all() -> None:
    half = LAYERS // 2
    assert_about(need(f"-ngl {half + 1}"), half * DENSE + OUTPUT + CACHE // 2, TABLE + half * DENSE + CACHE // 2)
    assert_about(need("-ngl 1"), OUTPUT, TABLE + ALL_LAYERS + CACHE)
    assert_about(need("-ngl 0"), 0, TABLE + ALL_LAYERS + OUTPUT + CACHE)


def test_what_is_kept_stays_in_the_machine_if_it_is_to() -> None:
    assert_about(need("-ngl 99 -nkvo"), ALL_LAYERS + OUTPUT, TABLE + CACHE)


def test_a_model_without_an_output_has_its_table_twice() -> None:
    tied = Files(model(tensors=all_tensors(output=False)))
    assert_about(need("-ngl 99", files=tied), ALL_LAYERS + TABLE + CACHE, TABLE)
    assert_about(need("", NO_CARD, tied), 0, ALL_LAYERS + TABLE + CACHE)


@pytest.mark.parametrize("words", ["-cmoe", f"-ncmoe {LAYERS}", r"-ot \.ffn_.*_exps\.=CPU"])
def test_experts_in_the_machine(words: str) -> None:
    assert_about(of_experts(f"-ngl 99 --no-mmap {words}"), ALL_LAYERS + OUTPUT + CACHE, TABLE + LAYERS * EXPERTS)


def test_a_file_is_mapped_from_the_first_to_the_last_tensor_in_the_machine() -> None:
    whole = TABLE + LAYERS * (DENSE + EXPERTS)  # the output is behind it
    assert_about(of_experts("-ngl 99 -cmoe"), ALL_LAYERS + OUTPUT + CACHE, whole)


def test_experts_of_the_first_layers_in_the_machine() -> None:
    found = of_experts("-ngl 99 --no-mmap -ncmoe 10")
    assert_about(found, ALL_LAYERS + OUTPUT + CACHE + (LAYERS - 10) * EXPERTS, TABLE + 10 * EXPERTS)


@pytest.mark.parametrize("pattern", ["(=CPU", "=", "a" * 5000 + "{99999999999}=CPU", "nothing"])
def test_a_pattern_that_says_nothing_changes_nothing(pattern: str) -> None:
    assert of_experts(f"-ngl 99 -ot {pattern}") == of_experts("-ngl 99")


def test_feed_forward_of_the_first_layers_in_the_machine() -> None:
    found = need("-ngl 99 --no-mmap -ncffn 4")
    assert_about(found, ALL_LAYERS + OUTPUT + CACHE - 2 * DENSE, TABLE + 2 * DENSE)


@pytest.mark.parametrize(("kind", "part"), [("f16", 1.0), ("f32", 2.0), ("q8_0", 34 / 64), ("q4_0", 18 / 64)])
def test_what_is_kept_goes_by_its_type(kind: str, part: float) -> None:
    without = need("-ngl 99").gpu - CACHE
    assert need(f"-ngl 99 -ctk {kind} -ctv {kind}").gpu == pytest.approx(without + part * CACHE)


def test_only_so_many_tokens_are_kept_as_a_layer_sees() -> None:
    window = Files(model("gemma2", **{"attention.sliding_window": 1024}))
    few, all_of_them = need("-ngl 99 -c 65536 -np 1", files=window), need("-ngl 99 -c 65536 --swa-full", files=window)
    assert all_of_them.gpu - few.gpu == (65536 - 1024 - 512) * KEPT // 2


def test_weights_are_there_twice_where_a_processor_wants_another_order() -> None:
    once = need("", NO_CARD)
    quantized = Files(model(tensors=all_tensors(kind=Q4_K)))
    assert need("", NO_CARD, quantized).ram - once.ram == ALL_LAYERS + OUTPUT
    assert need("--no-repack", NO_CARD, quantized) == once
    assert need("--no-mmap", NO_CARD, quantized) == once
    assert need("-ngl 0", files=quantized) == need("-ngl 0")  # with a GPU they are as they are


def test_without_a_context_it_takes_that_of_the_model_for_each_slot_that_is_asked_for() -> None:
    files = Files(WITHOUT_TOKENS)

    def tokens(options: str) -> int:
        found = llama.need(files, flags_of(f"-ngl 99 {options}".split(), {}), CARD)
        return round((found.gpu - need("-ngl 99", files=files).gpu) / (KEPT + 6 * 512) + CONTEXT)

    assert tokens("") == 131072
    assert tokens("-np 2") == 2 * 131072
    assert tokens("-np 2 -kvu") == 131072


def test_a_context_that_nobody_has_set_is_made_to_fit() -> None:
    for size in (10, 12, 15):
        found = llama.need(Files(DENSE_MODEL), flags_of(["-ngl", "99"], {}), Room(1, size * GB))
        assert 0.95 * size * GB < found.gpu <= size * GB
    least = llama.need(Files(DENSE_MODEL), flags_of(["-ngl", "99"], {}), Room(1, 2 * GB))
    assert least == need("-ngl 99")  # 4096 tokens are the fewest
    off = llama.need(Files(DENSE_MODEL), flags_of(["-ngl", "99", "-fit", "off"], {}), Room(1, 10 * GB))
    assert off.gpu > 20 * GB


def test_layers_that_nobody_has_placed_are_made_to_fit_too() -> None:
    whole = need("")
    found = need("", Room(1, 2 * GB))
    assert found == Split(2 * GB, whole.ram + whole.gpu - 2 * GB)
    assert need("-ngl 99", Room(1, 2 * GB)) == whole  # somebody has said so
    assert need("-fit off", Room(1, 2 * GB)) == whole


def test_each_gpu_has_a_share_of_the_work_and_a_driver_of_its_own() -> None:
    one, two = need("-ngl 99"), need("-ngl 99", Room(2, 100 * GB))
    assert llama.CONTEXT_OF_DRIVER < two.gpu - one.gpu < llama.CONTEXT_OF_DRIVER + 200 * MB


def test_a_projector_and_a_draft_come_on_top() -> None:
    alone, projector = need("-ngl 99"), 900 * MB
    seeing = need("-ngl 99", files=Files(DENSE_MODEL, projector))
    assert seeing == Split(alone.gpu + projector + llama.PROJECTOR_WORK, alone.ram)
    outside = need("-ngl 99 --no-mmproj-offload", files=Files(DENSE_MODEL, projector))
    assert outside == Split(alone.gpu, alone.ram + projector + llama.PROJECTOR_WORK)
    twice = need("-ngl 99", files=Files(DENSE_MODEL, draft=DENSE_MODEL))
    assert twice.gpu == 2 * alone.gpu - llama.CONTEXT_OF_DRIVER
    draft_outside = need("-ngl 99 -ngld 0 -ot blk=CPU", files=Files(DENSE_MODEL, draft=DENSE_MODEL))
    assert draft_outside.gpu < alone.gpu


def test_slots_share_the_windows_unless_they_are_asked_for() -> None:
    window = Files(model("gemma2", **{"attention.sliding_window": 1000}))
    none = need("-ngl 99 -c 65536 --swa-full", files=window).gpu

    def cells(options: str) -> int:
        saved = none - need(f"-ngl 99 -c 65536 {options}", files=window).gpu
        return 65536 - saved // (KEPT // 2)

    assert cells("") == 4608  # 4 x 1000 + 512, in steps of 256
    assert cells("-np 4") == 4 * 1536
    assert cells("-np 4 -kvu") == 4608
    assert cells("-np 1") == 1536


def test_without_flash_attention_the_scores_of_all_heads_come_on_top() -> None:
    files = Files(WITHOUT_TOKENS)
    assert need("-ngl 99 -fa off", files=files).gpu - need("-ngl 99", files=files).gpu == 4 * 512 * CONTEXT * 32
