# Completion of compere for fish:  compere completions fish | source
function __compere_candidates
    compere __complete (commandline) (commandline -C) 2>/dev/null
end
# Files are offered where compere has nothing to say.
complete -c compere -f -n 'test -n "$(__compere_candidates)"' -a '(__compere_candidates)'
