"""Overtaking: the place of a signal beside the mail to the same node; pure.

::

    the mail has its credit:      mail mail mail SIGNAL            in order
    it waits for more credit:     SIGNAL  mail mail mail ...       ahead of it, and so are
                                                                   signals that stand in it

A receiver gives credit when its processes handle mail, and a process that waits for the very
end that a signal tells handles none: a signal must not wait for that.  Credit is never taken
back, so mail that has it will go, and a signal behind it, too.
"""

from __future__ import annotations

from splice.message import SIGNAL
from splice.net.outbound import Outbound
from splice.net.outgoing import Outgoing


def place(outbound: Outbound, signal: Outgoing) -> None:
    """Decide whether `signal`, which is sent next, goes behind the mail or ahead of it."""
    if outbound.will_go:
        outbound.has_signals = True
        return
    signal.prompt = True
    if outbound.has_signals:
        outbound.has_signals = False
        _hurry(outbound)


def _hurry(outbound: Outbound) -> None:
    """Take the signals out of the mail: they must not be overtaken by a later one."""
    waiting = [message for message in outbound.mail if message.entry[0] == SIGNAL]
    mail = [message for message in outbound.mail if message.entry[0] != SIGNAL]
    outbound.mail.clear()
    outbound.mail.extend(mail)
    for message in [*outbound.bulk.take_signals(), *waiting]:
        message.prompt = True
        outbound.prompt.append(message)
