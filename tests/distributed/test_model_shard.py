"""What a shard of a model does by itself, without Ray."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from adagrad import Rule, Table
from adagrad.ctr.learners.settings import Settings
from adagrad.distributed._model_shard import ModelShard
from checks import assert_same_bits

SLOTS = np.array([3, 70], np.uint32)
ONES = np.ones(2, np.float32)
BATCHES = 4


@pytest.mark.parametrize("mode", ["coupled", "decoupled"])
@pytest.mark.parametrize("resumed", [False, True], ids=["", "from a checkpoint"])
def test_the_bias_takes_no_penalty(tmp_path, resumed, mode):
    free = Rule(lr=0.1, eps=1.0)
    rule = free.replace(weight_decay=0.5, weight_decay_mode=mode)

    async def learned():
        shard = ModelShard(Settings("lr", 128, rule), [(0, 128)], True, "sync", 0)
        epoch = 0
        await shard.begin(epoch)
        for batch in range(BATCHES):
            if resumed and batch == 2:
                await shard.save(epoch, str(tmp_path), batch)
                epoch += 1
                await shard.begin(epoch, str(tmp_path), 0, batch)
            await shard.pull(epoch, batch, SLOTS)
            await shard.push(epoch, batch, {"linear": ONES, "bias": ONES[:1]})
        params = await shard.pull(epoch, BATCHES, SLOTS)
        return params, await shard.read("bias", 0, slice(1))

    answer, bias = asyncio.run(learned())
    penalized, unpenalized = Table(128, rule=rule), Table(1, rule=free)
    for _ in range(BATCHES):
        penalized.step(SLOTS, ONES)
        unpenalized.step(np.zeros(1, np.uint32), ONES[:1])
    assert_same_bits(answer.params["linear"], penalized.gather(SLOTS))
    assert answer.bias == unpenalized.weights[0]
    assert_same_bits(bias[0], np.array([unpenalized.weights[0], unpenalized.state[0]]))
