# fish completion for svok: it is in the file of supervise.
source (status dirname)/supervise.fish
