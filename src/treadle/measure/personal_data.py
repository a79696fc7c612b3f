"""Does a row hold somebody's e-mail address, number or secret?"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.data.parts import Part, part_texts
from treadle.op import measure
from treadle.text.personal import find_personal


@measure(
    reference="ISO 13616, ISO/IEC 7812, E.164, RFC 5322 and 6890: forms and checksums",
    cost="one pass over the text, no model",
)
def personal_data(*, of: Part = "row") -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Count what looks like personal data or a secret, by form and checksum.

    Columns: `personal_data`, the number of findings (0: looked and found none);
    `personal_data_kinds`, which kinds, sorted: `api_key` (AWS, GitHub, `sk-…`), `email`, `iban`,
    `ip_address` (public v4 and v6), `payment_card`, `phone`, `private_key`. IBANs, cards and GitHub
    tokens must pass their checksum; what is reserved for documentation, fiction or hotlines is no
    finding. It knows no names, addresses or birthdays, and no phone number without `+` outside North
    America: 0 is no proof that a row is clean. About one random number of 16 digits in 44 passes as
    a card. A part without text is missing.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        texts = part_texts(batch, of)
        found = [None if text is None else find_personal(text) for text in texts]
        kinds = [None if one is None else sorted({f.kind for f in one}) for one in found]
        return pl.DataFrame(
            {"personal_data": [None if one is None else len(one) for one in found],
             "personal_data_kinds": kinds},
            schema={"personal_data": pl.Int64, "personal_data_kinds": pl.List(pl.String)},
        )  # fmt: skip

    return run
