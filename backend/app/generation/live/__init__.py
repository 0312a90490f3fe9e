"""Speech while it is being made: a worker speaks into a socket, and the service sends it on.

A live request is a generation like any other (the same reading, parts, seeds, measurements and take); only
its audio leaves before it is over. docs/adr/0005 says why it does not pass through the job queue.

`server` runs in the worker, `listening` in the service; `orders` is what they share.
"""
