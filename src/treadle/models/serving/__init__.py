"""Models of this machine behind an endpoint: llama.cpp, for teachers, judges and students that answer.

    with Served("embedded") as server:
        Address(server.url, server.model)

`gguf_file` what is served: the embedded model as it came, or a trained student written anew ·
`server` llama.cpp's own server in this process · `child` the same in a process of its own.

transformers scores and trains; llama.cpp generates: many replies at once come several times faster.
"""

from treadle.models.serving.child import Served

__all__ = ["Served"]
