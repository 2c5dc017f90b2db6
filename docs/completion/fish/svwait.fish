# fish completion for svwait: it is in the file of supervise.
source (status dirname)/supervise.fish
