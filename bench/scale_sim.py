"""A simulated training cluster: its throughput and its bottleneck.

The simulation follows the protocol of adagrad.distributed, with durations instead of work, and uses
the same objects to decide when a shard may answer and step. A process has one thread and needs a
processor of its node for all its work. A message occupies its sender's link and, one latency later,
its receiver's; within a node it costs only processor time.

Not simulated: the start and end of training, failures, checkpoints, Ray's daemons, the scheduling
of the operating system within a slice of work, links inside the network, shared caches.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from adagrad.distributed._order import Async, Order, Sync, window
from bench.events import Clock, Event, Node, Process, Thread, start
from bench.scale_model import WAITS, Cluster, Costs, Outcome, Rows, Training

ORDERS: dict[str, type[Order]] = {"sync": Sync, "async": Async}
AHEAD = 2  # batches that a reader keeps ready
RESULT = 8  # bytes of the margin and label of an example, which a worker sends to the driver
ROW = 4  # bytes of an id, a param or a gradient


class _Worker(Thread):
    def __init__(self, clock: Clock, node: Node) -> None:
        super().__init__(clock, node)
        self.load = 0  # batches assigned and not collected
        self.round = self.reply = self.idle = 0.0  # seconds of waiting
        self.tasks: deque[Process] = deque()
        self.told = Event()

    def tell(self, task: Process) -> None:
        """Append a task; tasks run in order."""
        self.tasks.append(task)
        self.told.happen()

    def run(self, clock: Clock) -> Process:
        while True:
            while self.tasks:
                yield from self.tasks.popleft()
            since, self.told = clock.now, Event()
            yield self.told
            self.idle += clock.now - since


class _Shard(Thread):
    def __init__(self, clock: Clock, node: Node, order: Order) -> None:
        super().__init__(clock, node)
        self.order, self.pushed = order, dict[int, float]()
        self.stepped = Event()


@dataclass
class _Flight:
    """A batch that is assigned to a worker."""

    number: int
    worker: _Worker
    rows: Rows  # to pull from each shard
    block: Event  # happens when the rows of the batch reach the worker
    finished: Event | None = None
    answers: list[Event] = field(default_factory=list)
    allowed: float = 0.0  # when the last shard was allowed to answer


class _Simulation:
    def __init__(
        self,
        costs: Costs,
        cluster: Cluster,
        training: Training,
        loads: Rows,
        batches: int,
        seed: int,
    ) -> None:
        self.costs, self.cluster, self.training, self.batches = costs, cluster, training, batches
        drawn = np.random.default_rng(seed).integers(len(loads), size=batches)
        self.rows = loads[drawn]
        self.clock = clock = Clock()
        self.nodes = [Node(clock, cluster.processors) for _ in range(cluster.nodes)]
        # From the last node backward, because the first already runs the driver.
        place = self.nodes[::-1]
        self.driver = Thread(clock, self.nodes[0])
        self.readers = [Thread(clock, node) for node in self.nodes]
        self.workers = [_Worker(clock, place[k % len(place)]) for k in range(cluster.workers)]
        order = ORDERS[training.mode]
        self.shards = [
            _Shard(clock, place[k % len(place)], order(training.staleness))
            for k in range(cluster.shards)
        ]
        for shard in self.shards:
            shard.order.end(batches)
        self.read = [Event() for _ in range(batches)]
        self.given = [Event() for _ in range(batches)]
        self.done: list[tuple[float, dict[str, Rows]]] = []
        self.result = Event()

    def run(self) -> Outcome:
        for k in range(len(self.nodes)):
            start(self.reading(k))
        for worker in self.workers:
            start(worker.run(self.clock))
        start(self.driving())
        self.clock.run()
        if len(self.done) != self.batches:
            raise RuntimeError(f"{len(self.done)} of {self.batches} batches came to an end")
        # As many batches as are in flight end in one burst: measure whole bursts.
        burst = min(window(self.training.staleness), 2 * len(self.workers))
        first = self.batches // 4 // burst * burst
        last = max(3 * self.batches // 4 // burst, first // burst + 1) * burst
        (begin, before), (end, after) = self.done[first - 1], self.done[last - 1]
        spent = {kind: (after[kind] - before[kind]) / (end - begin) for kind in after}
        busy = {
            kind: float(np.mean(x) if kind in WAITS else np.max(x)) for kind, x in spent.items()
        }
        rate = float((last - first) * self.training.batch / (end - begin))
        return Outcome(rate, float(self.done[-1][0]), busy)

    def spent(self) -> dict[str, Rows]:
        """Return the seconds that each process or resource has worked or waited so far, by kind."""
        nodes, processors = self.nodes, self.cluster.processors
        seconds = {
            "worker": [worker.busy for worker in self.workers],
            "shard": [shard.busy for shard in self.shards],
            "reader": [reader.busy for reader in self.readers],
            "driver": [self.driver.busy],
            "network": [link.busy for node in nodes for link in (node.sending, node.receiving)],
            "processors": [node.processors.busy / processors for node in nodes],
        }
        seconds |= {kind: [getattr(worker, kind) for worker in self.workers] for kind in WAITS}
        return {kind: np.array(of_each) for kind, of_each in seconds.items()}

    # -- processes ------------------------------------------------------------------------------

    def reading(self, k: int) -> Process:
        """Read the batches of node `k`, up to `AHEAD` before they are assigned."""
        nodes = len(self.nodes)
        for number in range(k, self.batches, nodes):
            if number >= AHEAD * nodes:
                yield self.given[number - AHEAD * nodes]
            yield from self.readers[k].work(self.costs.read * self.training.batch)
            self.read[number].happen()

    def driving(self) -> Process:
        """Assign batches: at most two per worker, and none beyond the staleness window."""
        flights: dict[int, _Flight] = {}
        most = window(self.training.staleness)
        for number in range(self.batches):
            yield self.read[number]
            while flights and (
                len(flights) >= 2 * len(self.workers) or number - min(flights) >= most
            ):
                yield from self.collect(flights)
            worker = min(self.workers, key=lambda worker: worker.load)
            flight = _Flight(number, worker, self.rows[number], Event())
            worker.load += 1
            self.given[number].happen()
            yield from self.driver.work(self.costs.call.sent(0))
            start(self.deliver(flight))
            worker.tell(self.prepare(flight))
            for other in sorted(flights):
                if flights[other].worker is worker:
                    yield from self.ask(flights[other])
            flights[number] = flight
        while flights:
            yield from self.collect(flights)

    def ask(self, flight: _Flight) -> Process:
        if flight.finished is None:
            flight.finished = Event()
            yield from self.driver.work(self.costs.call.sent(0))
            flight.worker.tell(self.finish(flight))

    def collect(self, flights: dict[int, _Flight]) -> Process:
        """Ask for the first batch; collect the first result of any batch that was asked for."""
        yield from self.ask(flights[min(flights)])
        asked = [f for _, f in sorted(flights.items()) if f.finished is not None]
        while not any(f.finished.happened for f in asked):
            self.result = Event()
            yield self.result
        flight = next(f for f in asked if f.finished.happened)
        nbytes = RESULT * self.training.batch
        seconds = self.costs.call.taken(nbytes) + self.costs.track * self.training.batch
        yield from self.driver.work(seconds)
        del flights[flight.number]
        flight.worker.load -= 1
        self.done.append((self.clock.now, self.spent()))
        self.result = Event()

    def deliver(self, flight: _Flight) -> Process:
        """Send the rows of a batch from its reader to its worker."""
        reader = self.readers[flight.number % len(self.nodes)]
        nbytes = self.costs.block * self.training.batch
        yield from self.send(reader.node, flight.worker.node, nbytes)
        flight.block.happen()

    def prepare(self, flight: _Flight) -> Process:
        costs, worker, since = self.costs, flight.worker, self.clock.now
        yield flight.block
        worker.reply += self.clock.now - since
        seconds = costs.call.taken(0) + costs.encode * self.training.batch
        calls = sum(costs.call.sent(ROW * rows) for rows in flight.rows)
        yield from worker.work(seconds + calls)
        flight.answers = [Event() for _ in self.shards]
        for k in range(len(self.shards)):
            start(self.pull(flight, k))

    def finish(self, flight: _Flight) -> Process:
        costs, worker, since = self.costs, flight.worker, self.clock.now
        yield from flight.answers
        held = min(max(flight.allowed - since, 0.0), self.clock.now - since)
        worker.round += held
        worker.reply += self.clock.now - since - held
        seconds = costs.call.taken(0) + costs.compute * self.training.batch
        calls = sum(costs.call.sent(ROW * rows) for rows in flight.rows)
        yield from worker.work(seconds + calls)
        since = self.clock.now
        taken = [Event() for _ in self.shards]
        for k in range(len(self.shards)):
            start(self.push(flight, k, taken[k]))
        yield from taken
        worker.reply += self.clock.now - since
        start(self.tell(flight))

    def tell(self, flight: _Flight) -> Process:
        """Send a batch's margins to the driver."""
        nbytes = RESULT * self.training.batch
        yield from self.send(flight.worker.node, self.driver.node, nbytes)
        assert flight.finished is not None
        flight.finished.happen()
        self.result.happen()

    def pull(self, flight: _Flight, k: int) -> Process:
        shard, rows = self.shards[k], flight.rows[k]
        yield from self.send(flight.worker.node, shard.node, ROW * rows)
        while not shard.order.may_pull(flight.number):
            yield shard.stepped
        flight.allowed = max(flight.allowed, self.clock.now)
        yield from shard.turn.take()
        yield from shard.work(self.costs.call.taken(ROW * rows) + self.costs.gather * rows)
        shard.turn.give()
        yield from self.send(shard.node, flight.worker.node, ROW * rows)
        flight.answers[k].happen()

    def push(self, flight: _Flight, k: int, taken: Event) -> Process:
        shard, rows = self.shards[k], flight.rows[k]
        yield from self.send(flight.worker.node, shard.node, ROW * rows)
        yield from shard.turn.take()
        yield from shard.work(self.costs.call.taken(ROW * rows))
        shard.pushed[flight.number] = rows
        while batches := shard.order.ready(shard.pushed):
            pushed = sum(shard.pushed.pop(number) for number in batches)
            yield from shard.work(self.costs.step * pushed)
            shard.order.step(batches)
            stepped, shard.stepped = shard.stepped, Event()
            stepped.happen()
        shard.turn.give()
        yield from self.send(shard.node, flight.worker.node, 0)
        taken.happen()

    def send(self, a: Node, b: Node, nbytes: float) -> Process:
        if a is not b:
            yield from a.sending.use(nbytes / self.cluster.bandwidth)
            yield self.clock.after(self.cluster.latency)
            yield from b.receiving.use(nbytes / self.cluster.bandwidth)


def simulate(
    costs: Costs,
    cluster: Cluster,
    training: Training,
    loads: Rows,
    batches: int | None = None,
    seed: int = 0,
) -> Outcome:
    """Simulate a training.

    Parameters
    ----------
    costs : Costs
    cluster : Cluster
    training : Training
    loads : ndarray, shape [n, shards]
        Rows that a batch pulls from each shard, for n sample batches. Each simulated batch draws
        one of them at random.
    batches : int, optional
        Number of batches; by default eight times those that may be in flight, and at least 96.
    seed : int
        Seed of the draws from `loads`.
    """
    if loads.ndim != 2 or loads.shape[1] != cluster.shards:
        raise ValueError(f"loads must be [n, {cluster.shards}], got {list(loads.shape)}")
    if batches is None:
        under_way = min(window(training.staleness), 2 * cluster.workers)
        batches = 8 * max(12, under_way)
    return _Simulation(costs, cluster, training, loads, batches, seed).run()
