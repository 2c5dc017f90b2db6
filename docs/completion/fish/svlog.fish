# fish completion for svlog: it is in the file of supervise.
source (status dirname)/supervise.fish
