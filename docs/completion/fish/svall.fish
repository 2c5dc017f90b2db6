# fish completion for svall: it is in the file of supervise.
source (status dirname)/supervise.fish
