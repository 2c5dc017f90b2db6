# fish completion for svc: it is in the file of supervise.
source (status dirname)/supervise.fish
