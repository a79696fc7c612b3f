"""What a send cost: nothing, what its reply says, or the worst case if nobody knows."""

from __future__ import annotations

from treadle.machinery.calls import Price
from treadle.models.endpoint.address import TokenPrice, Wire
from treadle.models.endpoint.sending import Sent
from treadle.models.endpoint.wire import MalformedReplyError, parse, usage


def cost_of(sent: Sent, worst: Price, price: TokenPrice, wire: Wire) -> Price:
    """Return the bill of one send. It never passes the worst case, so it never breaks a limit."""
    if not sent.has_reached_server or (sent.status is not None and sent.status != 200):
        return Price(0, 0)
    if sent.status is None or sent.body is None:
        return worst
    try:
        prompt, reply = usage(parse(sent.body), wire)
    except MalformedReplyError:
        return worst
    if prompt is None or reply is None:
        return worst
    cost = price.of(prompt, reply)
    # Counts above what is possible are not credible.
    return worst if cost.tokens > worst.tokens or cost.nano_usd > worst.nano_usd else cost
