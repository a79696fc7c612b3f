"""The gate on real students: a bank of proxies trained on random subsets must look all alike.

Every one of them is a random control. Groups drawn as `selected` and as `random` differ by luck
alone: the luck of items, of rows and of training seeds. So a gate at alpha may accept no more than
alpha of such comparisons, but for the Monte-Carlo error of counting them. A bootstrap over items
alone, on the same students, shows that there is luck to be fooled by.

The 210 gates share 42 students, so they are not independent: their share of false accepts varies more
than the binomial bound allows for, and says less than 210 experiments would. The bank and the gates are
fixed by their seeds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from gate_worlds import bank_decisions, groups_of, naive_share_better
from treadle import models
from treadle import op as registry
from treadle.context import Context
from treadle.data.pool import Pool

STUDENTS, GATES, ITEMS, ALPHA = 42, 210, 150, 0.05


@pytest.mark.slow
def test_a_bank_of_real_students_on_random_rows_is_accepted_no_more_often_than_alpha(
    tmp_path: Path,
) -> None:
    pytest.importorskip("torch", reason="the proxy student needs treadle[local]")
    from treadle.models.sums import proxy_items, proxy_rows

    student = models.load("proxy")
    pool = Pool.of(proxy_rows(1200, seed=1, wrong_share=0.3))
    items = Pool.of(proxy_items(ITEMS, seed=1)).frame
    items = items.with_columns(items["id"].alias("item"), items["id"].alias("source"))
    options = {"lora": 0, "learning_rate": 0.003, "batch_size": 64, "steps": 20}
    train = registry.get("train", "sft").bind(options).make()
    nll = registry.get("evaluate", "nll").bind({}).make()
    context = Context()
    rng = np.random.default_rng(5)
    scores = []
    for seed in range(STUDENTS):
        drawn = sorted(rng.choice(len(pool), 300, replace=False).tolist())
        folder = tmp_path / str(seed)
        folder.mkdir()
        train(pool.frame[drawn], student, seed, folder, context)
        scores.append(nll(student.tuned(folder), items, context).sort("item")["score"].to_numpy())
    bank = np.stack(scores)
    assert bank.std(axis=0).mean() > 0.01, "students differ, so there is luck to be fooled by"
    before = nll(student, items, context).sort("item")["score"].to_numpy()
    worst = np.minimum(before, bank.min(axis=0) - 5)  # the incumbent is not what is tested here
    found, seen = bank_decisions(bank, worst, gates=GATES, seeds=3)
    assert len(seen) == GATES
    naive = naive_share_better(groups_of(bank, 3), GATES, ALPHA)
    told = f"{found['accept']} of {GATES} accepted; items alone: {naive:.3f} called better; {found}"
    print(told)
    assert naive > 2 * ALPHA, told
    assert found["accept"] <= stats.binom.ppf(0.999, GATES, ALPHA), told
