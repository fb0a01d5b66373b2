#compdef compere
# Completion of compere for zsh:  source <(compere completions zsh)
_compere() {
    local -a plain open
    local candidate help
    while IFS=$'\t' read -r candidate help; do
        candidate="${candidate//:/\\:}"
        [[ -n $help ]] && candidate="$candidate:$help"
        if [[ $candidate == *= ]]; then
            open+=("$candidate")
        else
            plain+=("$candidate")
        fi
    done < <(compere __complete "$BUFFER" "$CURSOR" 2>/dev/null)
    if (( ${#plain} + ${#open} == 0 )); then
        _files
        return
    fi
    (( ${#plain} )) && _describe -t values 'compere' plain
    (( ${#open} )) && _describe -t arguments 'argument' open -S ''
}
compdef _compere compere
