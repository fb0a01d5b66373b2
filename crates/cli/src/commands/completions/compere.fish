# Completion of compere for fish:  compere completions fish | source
complete -c compere -a '(compere __complete (commandline) (commandline -C) 2>/dev/null)'
