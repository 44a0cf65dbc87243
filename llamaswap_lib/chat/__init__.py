"""The chat of `llamaswap run`: what is typed, what is asked, and how answers are shown.

Main thread, but for what is shown while an answer is waited for (`waiting`). It asks by /v1/chat/completions.
"""
