"""Models behind a web address: one call path for teachers and judges.

    endpoint = Endpoint(Address("http://127.0.0.1:8080/v1", "qwen"), book.session("mine", limits))
    answers = endpoint.ask([Chat.of("What does zip do?", max_tokens=200)])

`address` where it is and what it costs · `wire` what is sent and how a reply is read · `pace` how many
requests may be out at once · `sending` one send · `billing` what it cost · `client` the call path:
reserve, send, commit, read, repair · `batches` (in the form of `batch_wire`) calls that are answered
together within a day · `answers` what comes back · `fault_server` (with `fault_batches`) a server for
tests that misbehaves on purpose.

A reply is committed to the call book (`machinery.calls`) before it is read, and found there by the
hash of its request: nothing is paid twice, whatever is killed. What a server cannot be brought to
answer properly comes back as a `Failure` with its reason and its raw reply, for quarantine; only
what concerns every request (a wrong key, an outage, a spent budget) is an error.
"""

from treadle.models.endpoint.address import Address
from treadle.models.endpoint.answers import Answer, Failure
from treadle.models.endpoint.client import Endpoint
from treadle.models.endpoint.wire import Chat, Completion, Embedding

__all__ = ["Address", "Answer", "Chat", "Completion", "Embedding", "Endpoint", "Failure"]
