"""Plan and run studies, store their results, and show their progress."""
