"""`llamaswap init`: a first configuration for what is found on this machine.

`gguf` looks for model files, `gpus` asks the drivers, `fitting` estimates what fits, `text` writes the file. Runs on
the main thread, once; it reads names, sizes and headers, and never writes over a file that is there. It starts nothing,
but for `nvidia-smi` where the library of NVIDIA's driver cannot be loaded, and the tools of macOS.
"""
