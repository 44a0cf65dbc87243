"""Which words of a server's output mean that it ran out of memory."""

from __future__ import annotations

import pytest

from llamaswap_lib.runtime.logs.last_words import RunOutput
from llamaswap_lib.runtime.logs.out_of_memory import LINES, MOST_BYTES, out_of_memory

CUDA = "ggml_backend_cuda_buffer_type_alloc: allocating 16384.00 MiB on device 0: cudaMalloc failed: out of memory"
AGAIN = "llama_init_from_model: failed to reserve compute buffers, retrying without pipeline parallelism"


@pytest.mark.parametrize(
    "line",
    [
        CUDA,
        "0.00.094.293 E alloc_tensor_range: failed to allocate CUDA0 buffer of size 17179869184",
        "CUDA error: out of memory",
        "ggml_backend_cuda_buffer_type_alloc: allocating 4096.00 MiB on device 0: hipMalloc failed: out of memory",
        "hipErrorOutOfMemory",
        "ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
        "ggml_vulkan: Device memory allocation of size 1073741824 failed: VK_ERROR_OUT_OF_DEVICE_MEMORY",
        "error: ErrorOutOfMemory",
        "ggml_metal: failed to allocate buffer, size = 8192.00 MiB",
        "ggml_metal: command buffer failed: kIOGPUCommandBufferCallbackErrorOutOfMemory",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "torch.cuda.OutOfMemoryError: HIP out of memory.",
        "Free memory on device cuda:0 (3.1/23.6 GiB) on startup is less than desired GPU memory utilization",
        "RuntimeError: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "llama_model_load: error loading model: mmap failed: Cannot allocate memory",
        "MemoryError",
        "not enough memory",
        "Insufficient memory (case 4)",
        "sycl: out of device memory",
    ],
)
def test_words_that_mean_it(line: str) -> None:
    assert out_of_memory(["loading", line, "exiting"]) == line


@pytest.mark.parametrize(
    "line",
    [
        "llm_load_tensors: CUDA0 model buffer size = 4096.00 MiB",
        "ggml_cuda_host_malloc: failed to allocate 1024.00 MiB of pinned memory: out of memory",
        "warning: failed to mlock 1073741824-byte buffer (after previously locking 0 bytes): Cannot allocate memory",
        "srv  update_slots: failed to find free space in the KV cache, retrying with smaller batch size",
        "main: out of range",
        "load: printing all EOG tokens",
        "memory: 16 GB",
        f"free memory on device {'x' * 500} is less than desired",  # so far is not looked: it would take a square
    ],
)
def test_words_that_do_not(line: str) -> None:
    assert out_of_memory(["loading", line]) == ""


def test_what_was_tried_again_does_not_count() -> None:
    assert out_of_memory([CUDA, AGAIN, "main: model loaded", "Segmentation fault"]) == ""
    assert out_of_memory([CUDA, AGAIN, "failed to allocate CUDA1 buffer"]) == "failed to allocate CUDA1 buffer"


def test_it_is_the_first_line_that_says_so() -> None:
    assert out_of_memory(["begin", CUDA, "failed to allocate buffer for kv cache"]) == CUDA


def test_what_was_said_long_before_does_not_count() -> None:
    assert out_of_memory([CUDA, *["slot released"] * LINES]) == ""
    assert out_of_memory([CUDA, *["slot released"] * (LINES - 1)]) == CUDA


def test_it_is_fit_to_show() -> None:
    output = RunOutput(lambda _: None)
    assert out_of_memory(output.tail()) == ""
    output.write(b"begin\n  \x1b[31mcudaMalloc failed: out of memory\x1b[0m " + b"x" * 1000 + b"\nend\n")
    said = out_of_memory(output.tail())
    assert "cudaMalloc failed: out of memory" in said
    assert "\x1b" not in said
    assert len(said.encode()) <= MOST_BYTES
