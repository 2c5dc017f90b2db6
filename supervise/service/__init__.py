"""The parts of one service: its processes, what they say, its checks, and what it leaves behind."""
