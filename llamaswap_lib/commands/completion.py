"""`llamaswap completion`: a script for the shell, which asks `completing.py` at each Tab."""

from __future__ import annotations

import argparse

from llamaswap_lib.commands.program import print_text

EXAMPLES = 'eval "$(llamaswap completion bash)"'
EXAMPLES_NOTE = "needs bash"
NOTES = """For bash put `eval "$(llamaswap completion bash)"` into `~/.bashrc`; for zsh `eval "$(llamaswap
completion zsh)"` into `~/.zshrc`, behind `compinit`; for fish run `llamaswap completion fish >
~/.config/fish/completions/llamaswap.fish`.

Names of models, aliases and profiles come from the server that `--url` on the line or `LLAMASWAP_URL` names, if
it answers within a moment. It works for `llamaswap`, `llama-swap` and `llamaswap.py`."""

BASH = r"""# completion of llamaswap for bash
_llamaswap() {
    local line kind=""
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ -z $kind ]]; then kind=$line; else COMPREPLY+=("$line"); fi
    done < <("$1" __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
    case $kind in
        :files | :folders)
            compopt -o filenames 2>/dev/null
            local action=-f
            [[ $kind == :folders ]] && action=-d
            while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen "$action" -- "${COMP_WORDS[COMP_CWORD]}")
            ;;
    esac
}
complete -F _llamaswap llamaswap llama-swap llamaswap.py
"""

ZSH = r"""#compdef llamaswap llama-swap llamaswap.py
# completion of llamaswap for zsh
_llamaswap() {
    local -a answer names shown
    local line tab=$'\t'
    answer=("${(@f)$("${words[1]}" __complete words "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    case ${answer[1]} in
        :files) _files ;;
        :folders) _files -/ ;;
        *)
            for line in "${(@)answer[2,-1]}"; do
                names+=("${line%%$tab*}")
                shown+=("${line/$tab/  -- }")
            done
            compadd -l -d shown -a names
            ;;
    esac
}
if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
    _llamaswap "$@"
else
    compdef _llamaswap llamaswap llama-swap llamaswap.py
fi
"""

FISH = r"""# completion of llamaswap for fish
function __llamaswap_words
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l answer ($before[1] __complete words $before "$current" 2>/dev/null)
    switch "$answer[1]"
        case ':files' ':folders'
            __fish_complete_path "$current"
        case '*'
            printf '%s\n' $answer[2..-1]
    end
end
for name in llamaswap llama-swap llamaswap.py
    complete -c $name -f -a '(__llamaswap_words)'
end
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=tuple(SCRIPTS), help="bash, zsh or fish")


def run(options: argparse.Namespace) -> int:
    print_text(SCRIPTS[options.shell].rstrip("\n"))
    return 0
