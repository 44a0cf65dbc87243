"""`llamaswap init`: a first configuration for what is found on this machine.

`gguf` looks for model files, `gpus` asks the drivers, `text` writes the file. Runs on the main thread, once; it reads
names and sizes, starts nothing but `nvidia-smi`, and never writes over a file that is there.
"""
