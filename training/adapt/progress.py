"""What a person who waits is told."""

import sys
import time


class Progress:
    """Lines on stderr; on a terminal the last one is written over."""

    def __init__(self, quiet=False):
        self.quiet, self.began, self.said, self.terminal = quiet, time.time(), 0.0, sys.stderr.isatty()

    def say(self, text):
        if not self.quiet:
            print(f"{self.clock()}  {text}", file=sys.stderr, flush=True)

    def counting(self, what):
        """A function of `done` and `of` that shows how far `what` is, every few seconds."""
        every = 0.2 if self.terminal else 15

        def show(done, of):
            if self.quiet or (done < of and time.time() - self.said < every) or (done == of and not self.terminal):
                return
            self.said = time.time()
            line = f"{self.clock()}  {what}: {done} of {of}"
            print(f"\r\x1b[K{line}" if self.terminal else line, end="" if self.terminal else "\n", file=sys.stderr, flush=True)
            if self.terminal and done == of:
                print(file=sys.stderr)

        return show

    def clock(self):
        seconds = round(time.time() - self.began)
        return f"{seconds // 60:2}:{seconds % 60:02}"
