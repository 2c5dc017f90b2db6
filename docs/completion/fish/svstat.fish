# fish completion for svstat: it is in the file of supervise.
source (status dirname)/supervise.fish
