"""The one exception for mistakes a user can mend, and what no message may hold."""

import re

_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)
_KEY = re.compile(r"([?&][^=&\s]*(?:token|sig|signature|secret|password|key|credential)=)[^&\s'\"]+", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """`text` with stars for user names and passwords in URLs, and for keys and signatures in their queries."""
    return _KEY.sub(r"\1***", _USER.sub(r"\1***@", text))


class InputError(Exception):
    """Bad input or bad usage: the message is one line saying what is wrong, in which file, and what to do.

    The command line prints the message after ``segapp:`` and exits with code 2, without a traceback. Passwords in URLs
    become stars.
    """

    def __init__(self, message: str) -> None:
        line = without_secrets(" ".join(message.split()))
        super().__init__("".join(c if c.isprintable() else "?" for c in line))  # files' names may command a terminal
