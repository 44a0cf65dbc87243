"""Files of models: what their headers say, without reading the weights.

`gguf` and `safetensors` read one file each, on the thread that asks. They follow links, read no more than MOST_BYTES of
a file, and raise Unreadable for whatever is not as the format has it.
"""
