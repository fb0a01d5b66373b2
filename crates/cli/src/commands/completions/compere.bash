# Completion of compere for bash:  source <(compere completions bash)
_compere() {
    local before="${COMP_LINE:0:COMP_POINT}" candidate
    local word="${before##*[[:space:]]}" piece="${COMP_WORDS[COMP_CWORD]}"
    # bash takes words apart at = and : and wants only the last piece.
    local head=""
    if [[ $word == *[=:]* ]]; then
        head="${word%"${word##*[=:]}"}"
    fi
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        COMPREPLY+=("${candidate#"$head"}")
    done < <(compere __complete "$COMP_LINE" "${#before}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace
    fi
    if [[ ${#COMPREPLY[@]} -eq 0 && $word == *=* && -n $piece ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "${piece#=}")
    fi
}
complete -o default -F _compere compere
