"""What a model will need, estimated from the headers of its files and the options of its command, before it ever ran.

`estimator` is the way in; `flags` reads the options of llama-server, `layout` what a GGUF file has for each layer, and
`llama` and `vllm` put it together. Sizes are bytes. An estimate errs on the high side.
"""
