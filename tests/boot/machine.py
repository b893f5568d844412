"""A machine under test: starts the emulator, reads its console, types on it, and sees it end.

The console is the emulator's standard input and output (-nographic): pipes, or a pseudo-terminal. Works the same for
softvt and QEMU, so a test can be proved on the other one. Everything read is kept in `text`, without the carriage returns
of the serial line.
"""
import os
import pty
import re
import selectors
import signal
import subprocess
import termios
import time


class Failure(Exception):
    """What was expected did not happen; the message says what, and the console says the rest."""


class Machine:
    def __init__(self, command, log, scale=1.0, terminal=False):
        """Starts `command`. The console is copied to the file `log`. `scale` stretches every time limit."""
        self.command, self.scale = command, scale
        self.text = ""
        self.seen = 0  # end of the last match in text
        self.log = open(log, "w", encoding="utf-8")
        self.log.write(" ".join(command) + "\n")
        self.errors = open(log + ".stderr", "w+b")
        self.slave = None
        if terminal:
            self.master, self.slave = pty.openpty()
            self.settings_before = self.terminal_settings()
            self.child = subprocess.Popen(command, stdin=self.slave, stdout=self.slave, stderr=self.errors,
                                          start_new_session=True)
            self.input = self.output = self.master
        else:
            self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
            self.input, self.output = self.child.stdin.fileno(), self.child.stdout.fileno()
        os.set_blocking(self.output, False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.output, selectors.EVENT_READ)
        self.open = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self.selector.close()
        if self.slave is None:
            self.child.stdin.close()
            self.child.stdout.close()
        else:
            os.close(self.master)
            os.close(self.slave)
        self.log.close()
        self.errors.close()

    def read(self, seconds):
        """Takes in what the console says within the time; returns at the first text, or False at the time's end."""
        # This end holds the terminal open too, so there the end is that of the process.
        gone = self.slave is not None and self.child.poll() is not None
        if not self.selector.select(timeout=max(0, min(seconds, 0 if gone else 0.2 if self.slave else seconds))):
            self.open = not gone
            return False
        chunk = os.read(self.output, 65536)
        if not chunk:
            self.open = False
            return False
        chunk = chunk.decode(errors="replace").replace("\r", "")
        self.text += chunk
        self.log.write(chunk)
        self.log.flush()
        return True

    def terminal_settings(self):
        return termios.tcgetattr(self.slave)

    def expect(self, pattern, seconds):
        """Waits for a regular expression in what came after the last match; returns the match."""
        end = time.monotonic() + seconds * self.scale
        while True:
            match = re.compile(pattern).search(self.text, self.seen)
            if match:
                self.seen = match.end()
                return match
            if not self.open:
                raise Failure(f"the machine ended ({self.status()}) before it said /{pattern}/{self.complaint()}")
            left = end - time.monotonic()
            if left <= 0:
                last = self.text.rstrip().rsplit("\n", 1)[-1]
                raise Failure(f"no /{pattern}/ on the console within {seconds * self.scale:.0f} s; last line: {last!r}")
            self.read(left)

    def send(self, text):
        data = text.encode()
        while data:
            data = data[os.write(self.input, data):]

    def shell(self, command, seconds=30):
        """Types a command at the guest's shell, which does not echo, and returns what it printed. It must succeed."""
        begin = self.seen
        self.send(f"{command}; echo status=$?\n")
        match = self.expect(r"status=(\d+)\n", seconds)
        if match[1] != "0":
            raise Failure(f"the guest's command failed with status {match[1]}: {command}")
        return self.text[begin:match.start()].strip()

    def status(self):
        self.child.wait(timeout=10)
        code = self.child.returncode
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def complaint(self):
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return f"; it wrote: {lines[-1]}" if lines else ""

    def wait(self, seconds, status=0):
        """Waits until the machine ends by itself, which must be with this exit status and nothing on stderr."""
        end = time.monotonic() + seconds * self.scale
        while self.open:
            if end < time.monotonic():
                raise Failure(f"the machine did not end within {seconds * self.scale:.0f} s")
            self.read(end - time.monotonic())
        if self.status() != f"exit status {status}":
            raise Failure(f"the machine ended with {self.status()}, not with exit status {status}{self.complaint()}")

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")
